"""The extension module itself: what it links, how it takes tensors, its threads."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from onesearch_fast import _C
from onesearch_fast.testing.tries import random_codes

SIZES = (8, 7, 6)


@pytest.fixture
def thread_count() -> Iterator[None]:
    before = _C.get_num_threads()
    yield
    _C.set_num_threads(before)


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


Convert = Callable[[np.ndarray], Any]


def as_it_is(array: np.ndarray) -> np.ndarray:
    return array


def step(convert: Convert = as_it_is, convert_out: Convert = as_it_is) -> dict[str, np.ndarray]:
    """One call of the native operator on the root, each tensor passed as `convert` makes it."""
    trie = _C.SidTrie.build(random_codes(100, SIZES), list(SIZES), None, None, False)
    logits = np.random.default_rng(0).normal(size=(2, 1, 8)).astype(np.float32)
    out = {
        "scores": np.empty((2, 5), np.float32),
        "parent_beam": np.empty((2, 5), np.int32),
        "tokens": np.empty((2, 5), np.int32),
        "node": np.empty((2, 5), np.int32),
        "count": np.empty(2, np.int32),
        "best_dropped": np.empty(2, np.float32),
    }
    result = _C.BeamStepResult(*(convert_out(array) for array in out.values()), None)
    _C.constrained_beam_step(
        convert(logits),
        convert(np.zeros((2, 1), np.int32)),
        convert(np.zeros((2, 1), np.float32)),
        trie,
        5,
        0,
        "level",
        None,
        None,
        None,
        result,
    )
    return out


class Capsule:
    """An array library that speaks only `__dlpack__`, of the version before 1.0 or after."""

    def __init__(self, array: np.ndarray, versioned: bool) -> None:
        self.array = array
        self.versioned = versioned

    def __dlpack__(self, **arguments: Any) -> Any:
        if not self.versioned:
            if arguments:
                raise TypeError("unexpected keyword argument 'max_version'")
            return self.array.__dlpack__()
        return self.array.__dlpack__(**arguments)


def test_tensors_of_every_library_are_taken_without_a_copy() -> None:
    expected = step()
    assert (expected["count"] > 0).all()
    for convert in (
        torch.from_numpy,
        lambda array: Capsule(array, versioned=True),
        lambda array: Capsule(array, versioned=False),
    ):
        got = step(convert, convert)
        for name, array in expected.items():
            assert (got[name] == array).all(), name


def test_read_only_outputs_are_refused() -> None:
    def frozen(array: np.ndarray) -> np.ndarray:
        array.flags.writeable = False
        return array

    for convert in (frozen, lambda array: Capsule(frozen(array), versioned=True)):
        with pytest.raises(ValueError, match="scores: expected writable memory"):
            step(convert_out=convert)


@pytest.mark.parametrize(
    ("kind", "message", "convert"),
    [
        (TypeError, "logits: expected a tensor", lambda array: array.tolist()),
        (TypeError, "logits: expected a tensor", lambda array: None),
        (TypeError, "logits: expected a real dtype", lambda array: torch.zeros(2, 1, 8).cfloat()),
        (TypeError, "logits: expected a numeric dtype", lambda array: array.astype(">f4")),
        (ValueError, "at most 5 axes, got 6 axes", lambda array: array[None, None, None]),
        (ValueError, "at most 5 axes", lambda array: torch.from_numpy(array)[None, None, None]),
    ],
)
def test_what_is_no_tensor_is_refused(
    kind: type[Exception], message: str, convert: Callable[[np.ndarray], Any]
) -> None:
    with pytest.raises(kind, match=message):
        step(convert)


def test_unaligned_strides_are_refused() -> None:
    record = np.zeros((2, 1, 8), dtype=[("x", np.float32), ("y", np.int8)])
    with pytest.raises(ValueError, match="strides in whole elements"):
        step(lambda array: record["x"] if array.ndim == 3 else array)


def test_the_module_needs_neither_torch_nor_openmp() -> None:
    code = (
        "import sys; from onesearch_fast import _C; "
        "assert 'torch' not in sys.modules; "
        "maps = open('/proc/self/maps').read(); "
        "assert 'libgomp' not in maps and 'libtorch' not in maps, 'linked'"
    )
    done = run_python(code)
    assert done.returncode == 0, done.stderr


def test_the_processor_is_described() -> None:
    info = _C.cpu_info()
    assert info["kernels"] in _C.usable_isa_tiers().split()
    flags = Path("/proc/cpuinfo").read_text().split()
    for feature in info["features"]:
        assert feature.replace("sse4.2", "sse4_2") in flags


def test_there_is_a_gpu_or_a_reason() -> None:
    info = _C.cuda_info()
    assert (info["why_not"] is None) == bool(info["devices"])
    if info["why_not"] is None:
        assert info["driver_version"] is not None
        assert info["devices"][0]["memory_bytes"] > 0


@pytest.mark.usefixtures("thread_count")
def test_the_number_of_threads() -> None:
    _C.set_num_threads(3)
    assert _C.get_num_threads() == 3
    for count in (0, -1, 1025, 2**40):
        with pytest.raises(ValueError, match="1 to 1024"):
            _C.set_num_threads(count)
    assert _C.get_num_threads() == 3


def test_the_number_of_threads_from_the_environment() -> None:
    code = "from onesearch_fast import _C; print(_C.get_num_threads())"
    assert run_python(code, ONESEARCH_NUM_THREADS="5").stdout == "5\n"
    for wrong in ("", "0", "many", "2000"):
        done = run_python(code, ONESEARCH_NUM_THREADS=wrong)
        assert f"expected an integer from 1 to 1024, got '{wrong}'" in done.stderr


@pytest.mark.usefixtures("thread_count")
def test_steps_run_after_fork_and_from_many_threads() -> None:
    _C.set_num_threads(4)
    expected = step()["scores"]
    child = os.fork()
    if child == 0:
        os._exit(0 if (step()["scores"] == expected).all() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

    results: list[np.ndarray] = []
    workers = [threading.Thread(target=lambda: results.append(step()["scores"])) for _ in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(results) == 8
    assert all((scores == expected).all() for scores in results)


def test_handles_of_another_kind_are_refused() -> None:
    trie = _C.SidTrie.build(random_codes(100, SIZES), list(SIZES), None, None, False)
    other = _C.SidTrie.build(random_codes(100, SIZES), list(SIZES), None, None, False)
    foreign = _C.ItemFilter.make(other, None, None, None, None)
    arrays = [np.zeros((1, 1, 8), np.float32), np.zeros((1, 1), np.int32)]
    arrays.append(np.zeros((1, 1), np.float32))
    outputs = [np.empty((1, 2), np.float32), *(np.empty((1, 2), np.int32) for _ in range(3))]
    result = _C.BeamStepResult(*outputs, np.empty(1, np.int32), np.empty(1, np.float32), None)
    with pytest.raises(ValueError, match="filter: expected a filter of this trie"):
        _C.constrained_beam_step(*arrays, trie, 2, 0, "level", None, [foreign], None, result)
    for swapped in ((foreign, None, None, result), (trie, trie, None, result)):
        with pytest.raises(TypeError):
            _C.constrained_beam_step(*arrays, swapped[0], 2, 0, "level", None, *swapped[1:])
    for wrong in ((trie, result), (result, trie)):
        with pytest.raises(TypeError):
            _C.constrained_beam_step(*arrays, trie, 2, 0, "level", None, None, *wrong)
