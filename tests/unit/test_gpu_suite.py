"""What `benchmarks/gpu_suite.py` promises, as far as no GPU is needed for it."""

from __future__ import annotations

import importlib.util
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from onesearch_fast.ops import beam_attention

PATH = Path(__file__).parents[2] / "benchmarks" / "gpu_suite.py"


@pytest.fixture(scope="module")
def suite() -> ModuleType:
    spec = importlib.util.spec_from_file_location("gpu_suite", PATH)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["gpu_suite"] = module
    spec.loader.exec_module(module)
    return module


def test_every_stage_has_an_end_within_eight_minutes(suite: ModuleType) -> None:
    ends = [suite.ENDS[name] for name in suite.STAGES]
    assert ends == sorted(ends)
    assert ends[-1] < 8 * 60


def test_a_program_is_stopped_at_the_end_of_its_stage(suite: ModuleType) -> None:
    report = suite.Report("none", {})
    started = time.monotonic()

    def sleep(limit: Any) -> Any:
        return suite.run_program(limit, sys.executable, "-c", "import time; time.sleep(60)")

    suite.run_stage(report, "tests", sleep, started + 0.2)
    assert time.monotonic() - started < 30
    assert report.failed == ["tests"]
    assert "timed out" in report.stages["tests"]["error"]


def test_what_there_is_no_time_for_is_reported(suite: ModuleType) -> None:
    report = suite.Report("none", {})

    def stage(limit: Any) -> list[int]:
        done = []
        for number in range(4):
            if limit.allows(number):
                done.append(number)
            if number == 1:
                limit.end = time.monotonic()
        return done

    suite.run_stage(report, "shares", stage, time.monotonic() + 60)
    suite.run_stage(report, "searches", stage, time.monotonic() - 1)
    assert report.stages == {"shares": [0, 1]}
    assert report.cut == ["shares: 2", "shares: 3", "searches"]
    assert not report.failed


def test_attention_is_compared_with_the_formula(suite: ModuleType) -> None:
    torch.manual_seed(0)
    whole = suite.AttentionCase.random((2, 3, 300, 4, 2, 64), device="cpu")
    alone = whole.without_own()
    for case in (whole, alone):
        got = beam_attention(case.query, *case.context, *case.own).float()
        torch.testing.assert_close(got, case.in_float32(), **suite.ATTENTION_TOLERANCE)
    folded = alone.folded().float()
    torch.testing.assert_close(folded, alone.in_float32(), **suite.ATTENTION_TOLERANCE)
    assert not torch.allclose(whole.in_float32(), alone.in_float32(), **suite.ATTENTION_TOLERANCE)


def test_without_a_gpu_nothing_is_run(
    suite: ModuleType, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["gpu_suite.py"])
    assert suite.main() == 2
    assert "no GPU" in capsys.readouterr().err
