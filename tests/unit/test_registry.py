from __future__ import annotations

import subprocess
import sys
import threading

import pytest
import torch

from onesearch_fast import registry
from onesearch_fast.errors import BackendUnavailable
from onesearch_fast.ops import _arguments
from onesearch_fast.ops._arguments import choose
from onesearch_fast.registry import (
    Implementation,
    Operator,
    Tolerance,
    select,
    use_backend,
    why_not,
)


@pytest.fixture
def operator() -> Operator:
    return next(op for op in registry.operators() if op.name == "constrained_beam_step")


def chosen(operator: Operator, backend: str | None = None) -> str:
    return select(operator, "cpu", torch.float32, backend).backend


def test_the_native_core_is_the_default_on_cpu(operator: Operator) -> None:
    assert chosen(operator) == "cpu"


def test_an_argument_wins_over_the_context(operator: Operator) -> None:
    with use_backend("torch"):
        assert chosen(operator) == "torch"
        assert chosen(operator, "cpu") == "cpu"
        with use_backend("cpu"):
            assert chosen(operator) == "cpu"
        assert chosen(operator) == "torch"
    assert chosen(operator) == "cpu"


def test_the_context_ends_with_an_exception(operator: Operator) -> None:
    with pytest.raises(RuntimeError), use_backend("torch"):
        raise RuntimeError
    assert chosen(operator) == "cpu"


def test_the_context_is_of_one_thread(operator: Operator) -> None:
    seen = []
    with use_backend("torch"):
        thread = threading.Thread(target=lambda: seen.append(chosen(operator)))
        thread.start()
        thread.join()
    assert seen == ["cpu"]


@pytest.mark.parametrize(
    ("value", "outcome"), [("torch", "torch"), ("", "cpu"), ("abacus", "BackendUnavailable")]
)
def test_the_environment_names_the_default(value: str, outcome: str) -> None:
    program = (
        "import torch, onesearch_fast.registry as r\n"
        "try: print(r.select(r.operators()[0], 'cpu', torch.float32).backend)\n"
        "except Exception as error: print(type(error).__name__)"
    )
    result = subprocess.run(
        [sys.executable, "-c", program],
        env={"ONESEARCH_BACKEND": value, "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.strip() == outcome


@pytest.mark.parametrize("backend", ["abacus", ""])
def test_a_named_backend_never_falls_back(operator: Operator, backend: str) -> None:
    refused = pytest.raises(BackendUnavailable, match="there is no backend of this name")
    with refused as error:
        select(operator, "cpu", torch.float32, backend)
    assert f"(cpu, torch), got {backend!r}; " in str(error.value)  # what works instead
    with refused, use_backend(backend):
        select(operator, "cpu", torch.float32)


def test_unsupported_tensors_are_refused_with_the_reason(operator: Operator) -> None:
    with pytest.raises(BackendUnavailable, match=r"torch: it takes cpu tensors"):
        select(operator, "meta", torch.float32, "torch")
    with pytest.raises(BackendUnavailable, match=r"cpu: it takes torch\.float32"):
        select(operator, "cpu", torch.float64, "cpu")
    with pytest.raises(BackendUnavailable, match=r"expected one that runs here on meta tensors"):
        select(operator, "meta", torch.float32)


def test_a_backend_that_cannot_run_says_why(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(operator: Operator, backend: str) -> Implementation:
        if backend == "cpu":
            return Implementation(
                "cpu", ("cpu",), (torch.float32,), lambda: "the moon is full", lambda: None
            )
        raise ImportError("No module named 'abacus'")

    monkeypatch.setattr(registry, "load", broken)
    assert why_not(operator, "cpu") == "the moon is full"
    assert why_not(operator, "torch") == "No module named 'abacus'"
    with pytest.raises(BackendUnavailable, match=r"\(none\).*cpu: the moon is full; torch: No mod"):
        select(operator, "cpu", torch.float32)


def test_the_choice_is_made_once(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    logits = torch.zeros(1, 1, 4)
    first = choose(operator, "logits", logits, "cpu")
    monkeypatch.setattr(_arguments, "select", None)
    assert choose(operator, "logits", logits.clone(), "cpu") is first
    with use_backend("cpu"):
        assert choose(operator, "logits", logits, None) is first


@pytest.mark.parametrize(
    ("logits", "error", "message"),
    [
        ([[[0.0]]], TypeError, r"logits.*torch\.Tensor.*list"),
        (torch.zeros(1, 1, 4).double(), TypeError, r"logits.*torch\.float32.*torch\.float64"),
        (torch.zeros(1, 4), ValueError, r"logits.*\[batch, beam_in, code\].*\(1, 4\)"),
        (torch.zeros(1, 1, 4, device="meta"), BackendUnavailable, "meta tensors"),
    ],
)
def test_no_choice_for_what_the_operator_does_not_take(
    operator: Operator, logits: object, error: type[Exception], message: str
) -> None:
    choose(operator, "logits", torch.zeros(1, 1, 4), None)
    for _ in range(2):
        with pytest.raises(error, match=message):
            choose(operator, "logits", logits, None)  # type: ignore[arg-type]


def test_an_operator_without_files_is_reported() -> None:
    unknown = Operator("fly", {}, (torch.float32,), {torch.float32: Tolerance(0, 0)}, ())
    assert "fly" in str(why_not(unknown, "torch"))
