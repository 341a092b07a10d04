from __future__ import annotations

import json
import re
from importlib import metadata

import pytest

from onesearch_fast import runtime
from onesearch_fast.cli import doctor
from onesearch_fast.cli.main import main
from onesearch_fast.registry import use_backend


def test_text_names_everything(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    for word in ("onesearch_fast", "torch", "CPU", "GPU", "constrained_beam_step, backend cpu"):
        assert word in text
    assert all(package in text for package in doctor.NEEDED_FOR)


def test_the_native_cuda_library_speaks_for_itself(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    device = {"name": "H100", "compute_capability": "9.0", "num_sms": 132, "memory_bytes": 80 << 30}
    found = {"why_not": None, "driver_version": "13.0", "runtime_version": "13.0"}
    monkeypatch.setattr(runtime._C, "cuda_info", lambda: {**found, "devices": [device]})
    assert main(["doctor"]) == 0
    assert "native CUDA library: H100 (sm_90, 80 GiB)" in capsys.readouterr().out
    monkeypatch.setattr(
        runtime._C, "cuda_info", lambda: {**found, "why_not": "no driver", "devices": []}
    )
    assert main(["doctor"]) == 0
    assert "native CUDA library: no driver" in capsys.readouterr().out


def test_json_is_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["torch"] == metadata.version("torch")
    assert {"operator": "constrained_beam_step", "backend": "cpu", "why_not": None} in found[
        "backends"
    ]


def test_a_missing_package_is_shown_as_missing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(doctor.NEEDED_FOR, "no-such-package", "nothing")
    assert main(["doctor"]) == 0
    assert re.search(r"no-such-package\s+missing\s+nothing", capsys.readouterr().out)


def test_a_backend_that_does_not_exist_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    sentence = (
        "doctor: ONESEARCH_BACKEND: expected one of cpu, cuda, torch, triton, got 'abacus'; "
        "every operator refuses it: unset it"
    )
    with use_backend("abacus"):
        assert main(["doctor"]) == 1
        assert f"\nwarning: {sentence}\n" in capsys.readouterr().out
        assert main(["doctor", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["named_backend"] == {"name": "abacus", "why_not": sentence}


def test_a_backend_that_is_named_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with use_backend("torch"):
        assert main(["doctor"]) == 0
    assert "\nONESEARCH_BACKEND: torch\n" in capsys.readouterr().out
    assert main(["doctor", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["named_backend"] is None


def test_packages_are_those_of_the_extras() -> None:
    requirements = metadata.requires("onesearch-fast") or []
    extras = [line for line in requirements if re.search(r"extra == .(serve|train).", line)]
    names = {re.split(r"[^A-Za-z0-9_-]", line)[0] for line in extras} - {"onesearch-fast"}
    assert names == set(doctor.NEEDED_FOR)
