"""What the common cases leave out, on a GPU: catalogues that change, graphs, streams, repeats."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from onesearch_fast.index.live_store import LiveStore
from onesearch_fast.index.sid_trie import SidTrie
from onesearch_fast.ops.constrained_beam_step import (
    BeamStepOptions,
    BeamStepResult,
    GumbelNoise,
    constrained_beam_step,
)
from onesearch_fast.testing.cases.constrained_beam_step import LEVEL_SIZES, random_step, random_trie
from onesearch_fast.testing.devices import on_device
from onesearch_fast.testing.tries import random_codes

COLUMNS = ("scores", "parent_beam", "tokens", "node", "count", "best_dropped")


@pytest.fixture(params=["cuda", "triton"])
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    yield request.param


def assert_same(got: BeamStepResult, want: BeamStepResult) -> None:
    for name in COLUMNS:
        assert torch.equal(getattr(got, name).cpu(), getattr(want, name).cpu()), name


def run(arguments: dict[str, Any], backend: str) -> BeamStepResult:
    return constrained_beam_step(**on_device(arguments, "cuda"), backend=backend)


@pytest.mark.parametrize("level", [0, 1, 2])
def test_a_live_store(backend: str, tmp_path: Path, level: int) -> None:
    codes = random_codes(600, LEVEL_SIZES)
    with LiveStore.create(tmp_path / "store", codes, LEVEL_SIZES) as store:
        store.delete(np.arange(0, 500))
        store.insert(np.arange(1000, 1100), random_codes(100, LEVEL_SIZES, seed=5))
        snapshot = store.snapshot()
        arguments = random_step(torch.float32, snapshot, level, num_beams=60, normalizer="none")
        assert_same(run(arguments, backend), constrained_beam_step(**arguments, backend="cpu"))
        arguments["filter"] = snapshot.filter(deny=np.arange(1000, 1050))
        assert_same(run(arguments, backend), constrained_beam_step(**arguments, backend="cpu"))


def test_a_trie_a_filter_and_a_width_per_request(backend: str) -> None:
    tries = [random_trie(), SidTrie.build(random_codes(90, LEVEL_SIZES), LEVEL_SIZES)]
    arguments = random_step(torch.float32, tries[0], normalizer="none", batch=4)
    arguments["node"] %= 20
    arguments["trie"] = [tries[i] for i in (0, 0, 1, 1)]
    arguments["filter"] = [None, None, tries[1].filter(allow=np.arange(30)), None]
    widths = torch.tensor([1, 8, 3, 5], dtype=torch.int32)
    want = constrained_beam_step(
        **arguments, options=BeamStepOptions(beam_widths=widths), backend="cpu"
    )
    on_gpu = on_device(arguments, "cuda") | {
        "options": BeamStepOptions(beam_widths=widths.cuda()),
        "backend": backend,
    }
    assert_same(constrained_beam_step(**on_gpu), want)


@pytest.mark.parametrize("num_beams", [1, 256, 1024, 4096])
def test_repeats_and_neighbours_change_no_bit(backend: str, num_beams: int) -> None:
    trie = random_trie(20000, (64, 300, 8), skew=1.2)
    arguments = random_step(
        torch.bfloat16, trie, batch=8, beam_in=256, num_beams=num_beams, normalizer="level"
    )
    first, again = run(arguments, backend), run(arguments, backend)
    assert_same(first, again)
    alone = {
        name: value[5:6] if isinstance(value, torch.Tensor) else value
        for name, value in arguments.items()
    }
    one = run(alone, backend)
    for name in COLUMNS:
        assert torch.equal(getattr(one, name)[0], getattr(first, name)[5]), name


def test_a_captured_step_replays(backend: str) -> None:
    arguments = on_device(random_step(torch.float32, random_trie()), "cuda")
    out = BeamStepResult.empty(3, 8, "cuda")
    want = constrained_beam_step(**arguments, backend=backend)  # uploads the trie
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        constrained_beam_step(**arguments, out=out, backend=backend)
    out.scores.fill_(0.0)
    graph.replay()
    assert_same(out, want)


def test_a_stream_of_the_caller_is_used(backend: str) -> None:
    arguments = on_device(random_step(torch.float32, random_trie()), "cuda")
    want = constrained_beam_step(**arguments, backend=backend)
    torch.cuda.synchronize()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(10_000_000)
        got = constrained_beam_step(**arguments, backend=backend)
        assert not stream.query()  # enqueued behind the sleep, not on another stream
    stream.synchronize()
    assert_same(got, want)


def test_threads_take_no_shared_memory_from_each_other() -> None:
    trie = random_trie(20000, (64, 300, 8))
    cases = [
        on_device(random_step(torch.bfloat16, trie, beam_in=256, num_beams=num_beams), "cuda")
        for num_beams in (8, 4096)
    ]
    want = [constrained_beam_step(**arguments, backend="cuda") for arguments in cases]

    def search(number: int) -> bool:
        with torch.cuda.stream(torch.cuda.Stream()):
            got = constrained_beam_step(**cases[number % 2], backend="cuda")
            torch.cuda.current_stream().synchronize()
        return torch.equal(got.scores, want[number % 2].scores)

    torch.cuda.synchronize()
    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(search, range(400)))


def test_ten_thousand_filters_leave_no_memory_behind() -> None:
    trie = random_trie()
    arguments = on_device(random_step(torch.float32, trie), "cuda")
    out = BeamStepResult.empty(3, 8, "cuda")

    def search(first: int, count: int) -> int:
        for i in range(first, first + count):
            own = trie.filter(deny=[i % 600])
            constrained_beam_step(**arguments, filter=own, out=out, backend="cuda")
        torch.cuda.synchronize()
        return torch.cuda.memory_allocated()

    assert search(1000, 9000) <= search(0, 1000)


def test_tensors_of_two_devices_are_refused() -> None:
    arguments = on_device(random_step(torch.float32, random_trie()), "cuda")
    arguments["node"] = arguments["node"].cpu()
    with pytest.raises(ValueError, match="node: expected a tensor on the device of logits"):
        constrained_beam_step(**arguments)


def test_options_mean_what_they_mean_on_the_cpu() -> None:
    """Chosen for them: Triton."""
    arguments = random_step(torch.float32, random_trie(), normalizer="vocab")
    prior = torch.arange(random_trie().num_nodes(2), dtype=torch.float32) % 7 / 2

    def step(device: str) -> BeamStepResult:
        path = torch.arange(24, dtype=torch.int32, device=device).view(3, 8, 1)
        seeds = torch.tensor([1, -2, 3 << 60], device=device)
        options = BeamStepOptions(
            node_prior=prior.to(device),
            max_children_per_parent=2,
            sibling_penalty=0.5,
            gumbel=GumbelNoise(seeds, path, torch.zeros(3, 8, device=device)),
            beam_widths=torch.tensor([1, 8, 5], dtype=torch.int32, device=device),
        )
        return constrained_beam_step(**on_device(arguments, device), options=options)

    got, want = step("cuda"), step("cpu")
    assert_same(got, want)
    assert got.perturbed is not None and want.perturbed is not None
    torch.testing.assert_close(got.perturbed.cpu(), want.perturbed, atol=1e-5, rtol=1e-5)


def test_too_many_beams_are_refused_by_name_alone() -> None:
    arguments = on_device(random_step(torch.float32, random_trie(), num_beams=5000), "cuda")
    with pytest.raises(ValueError, match="at most 4096"):
        constrained_beam_step(**arguments, backend="cuda")
    got, want = (constrained_beam_step(**arguments, backend=own) for own in (None, "triton"))
    assert_same(got, want)
