"""What a GPU is asked for around searches and new weights, looked at without one."""

from __future__ import annotations

import weakref
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from onesearch_fast import registry
from onesearch_fast.engine.checks import check_device
from onesearch_fast.engine.executor import Executor

GPU = torch.device("cuda", 0)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    made: list[str] = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: made.append(f"wait {device}"))
    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext())
    return made


def make_executor(model: Any) -> Executor:
    space: Any = SimpleNamespace(model=model, reader=SimpleNamespace(cache=None))
    return Executor(space, deterministic=False, budget=None)


def test_new_weights_are_whole_before_a_stream_reads_them(calls: list[str]) -> None:
    def load(checkpoint: Any) -> None:
        calls.append("load")
        if checkpoint is None:
            raise ValueError("half a file")

    executor = make_executor(SimpleNamespace(device=GPU, load=load))
    executor.update_weights(SimpleNamespace())  # type: ignore[arg-type]
    assert calls == ["wait cuda:0", "load", "wait cuda:0"]
    assert executor.weight_version == 2
    with pytest.raises(ValueError, match="half"):
        executor.update_weights(None)  # type: ignore[arg-type]
    assert calls[3:] == ["wait cuda:0", "load", "wait cuda:0"]
    assert executor.weight_version == 2


def test_a_search_without_memory_is_refused_and_keeps_none() -> None:
    executor = make_executor(SimpleNamespace(device=torch.device("cpu")))
    batch: Any = SimpleNamespace(by_deadline=lambda: [[0, 1]], rows=lambda rows: rows)
    loads: Any = SimpleNamespace(of=lambda rows: None)
    taken: list[weakref.ref[torch.Tensor]] = []

    def search(*_: Any) -> None:
        activations = torch.zeros(4)
        taken.append(weakref.ref(activations))
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 8 GiB.")

    with pytest.raises(ValueError, match=r"2 at once \(CUDA out of memory\); search fewer") as told:
        executor.run(batch, loads, search)
    assert taken[0]() is None, told
    assert executor.run(batch, loads, lambda part, rows: rows).results == [[0, 1]]


def test_devices_that_cannot_be_used_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for unknown in ("mps", "meta", "gpu", 3.5):
        with pytest.raises(ValueError, match="device: expected cpu, cuda or cuda:N"):
            check_device("Engine", "device", unknown)  # type: ignore[arg-type]
    monkeypatch.setattr(registry, "gpu_why_not", lambda: None)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert check_device("Engine", "device", "cuda:1") == torch.device("cuda", 1)
    with pytest.raises(ValueError, match="one of 2 GPUs"):
        check_device("Engine", "device", "cuda:2")
