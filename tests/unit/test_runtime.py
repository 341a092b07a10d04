from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import torch

import onesearch_fast
from onesearch_fast import runtime
from onesearch_fast.ops import rms_norm


@pytest.fixture(autouse=True)
def keep_num_threads() -> Iterator[None]:
    before, of_torch = runtime.get_num_threads(), torch.get_num_threads()
    yield
    runtime.set_num_threads(before)
    torch.set_num_threads(of_torch)


def test_threads_are_set_and_read_back() -> None:
    onesearch_fast.set_num_threads(3)
    assert onesearch_fast.get_num_threads() == 3


@pytest.mark.parametrize("count", [0, -1, 1025, 2**40])
def test_a_thread_count_out_of_range_is_refused(count: int) -> None:
    before = runtime.get_num_threads()
    with pytest.raises(ValueError, match=r"set_num_threads: count: expected .*1 to 1024"):
        runtime.set_num_threads(count)
    assert runtime.get_num_threads() == before


@pytest.mark.parametrize("count", [2.0, True])
def test_a_thread_count_is_an_integer(count: Any) -> None:
    with pytest.raises(TypeError, match="set_num_threads: count: expected an integer"):
        runtime.set_num_threads(count)


def test_threads_are_torchs_where_it_has_as_many() -> None:
    x, weight = torch.randn(4096, 64), torch.ones(64)
    torch.set_num_threads(1)
    runtime.set_num_threads(1)
    expected = rms_norm(x, weight)
    for count in (2, 3):
        torch.set_num_threads(2)
        runtime.set_num_threads(count)
        assert runtime.shares_threads_with_torch() == (count == 2)
        assert torch.equal(rms_norm(x, weight), expected)


# In a process of its own: what forks must have no threads but these.
FORKS = """
import os
import torch
from onesearch_fast import SidTrie, runtime
from onesearch_fast.ops import rms_norm
torch.set_num_threads(2)
runtime.set_num_threads(2)
rms_norm(torch.randn(4096, 64), torch.ones(64))
assert runtime.shares_threads_with_torch()
child = os.fork()
if child == 0:
    codes = torch.randint(0, 256, (100_000, 3), dtype=torch.int32).numpy()
    os._exit(0 if SidTrie.build(codes, (256, 256, 256)).num_items == 100_000 else 1)
raise SystemExit(os.waitpid(child, 0)[1])
"""


def test_a_forked_child_has_threads_of_its_own() -> None:
    subprocess.run([sys.executable, "-c", FORKS], check=True, timeout=60)


def test_cpu_info_names_the_processor() -> None:
    info = runtime.cpu_info()
    assert info.architecture
    assert info.kernels


def test_backends_run_or_say_why_not() -> None:
    table = {(status.operator, status.backend): status.why_not for status in runtime.backends()}
    assert table["constrained_beam_step", "cpu"] is None
    assert table["constrained_beam_step", "torch"] is None
    assert all(reason is None or reason for reason in table.values())


def test_the_reason_against_the_gpu_follows_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.version.cuda", None)
    assert "built without CUDA" in str(runtime.gpu_why_not())
    monkeypatch.setattr("torch.version.cuda", "13.0")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert "no CUDA device" in str(runtime.gpu_why_not())
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert runtime.gpu_why_not() is None
