"""Whole searches on a GPU against those on the CPU."""

from __future__ import annotations

import gc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import onesearch_fast as osf
from onesearch_fast.engine.decode_graphs import DecodeGraphs
from onesearch_fast.engine.decode_program import Bucket
from onesearch_fast.testing import random_codes
from onesearch_fast.testing.random_models import random_model

SIZES = (12, 10, 9, 8)
OFFSETS = (50, 62, 72, 81)
PROMPTS = [[5, 9, 1, 30, 2, 2], [7], [49, 0, 3, 11, 12]]


def engines(model_type: str, trie: osf.SidTrie | osf.LiveStore) -> list[osf.Engine]:
    """The same model on the CPU and on the GPU."""
    return [make_engine(model_type, trie, device=device) for device in ("cpu", "cuda")]


def make_engine(
    model_type: str, trie: osf.SidTrie | osf.LiveStore, seed: int = 0, **options: Any
) -> osf.Engine:
    settings = {"device": "cuda", "dtype": "float32", "code_token_offsets": OFFSETS} | options
    return osf.Engine.from_pretrained(random_model(model_type, 95, seed=seed), trie, **settings)


def buckets_of(engine: osf.Engine) -> tuple[Bucket, ...]:
    graphs = engine._space.graphs
    assert isinstance(graphs, DecodeGraphs)
    return graphs.buckets


@pytest.fixture(scope="module")
def trie() -> osf.SidTrie:
    return osf.SidTrie.build(random_codes(400, SIZES, seed=6, skew=0.9), SIZES)


@pytest.fixture(autouse=True)
def exact_products(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)


@pytest.mark.parametrize("normalizer", ["level", "vocab", "children"])
@pytest.mark.parametrize("model_type", ["llama", "qwen3", "gpt2", "bart"])
@pytest.mark.parametrize("graph_bytes", [0, None])
def test_a_search_finds_the_same(
    model_type: str, normalizer: str, graph_bytes: int | None, trie: osf.SidTrie
) -> None:
    cpu = make_engine(model_type, trie, device="cpu")
    gpu = make_engine(model_type, trie, cuda_graph_bytes=graph_bytes)
    want = cpu.generate(PROMPTS, num_beams=40, normalizer=normalizer)
    got = gpu.generate(PROMPTS, num_beams=40, normalizer=normalizer)
    assert got.scores.is_cuda
    assert got.stats.graphed == (graph_bytes is None)
    assert torch.equal(got.codes.cpu(), want.codes)
    assert torch.equal(got.count.cpu(), want.count)
    torch.testing.assert_close(got.scores.cpu(), want.scores, atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    "options",
    [
        osf.SearchOptions(max_children_per_parent=2, sibling_penalty=0.5),
        osf.SearchOptions(seed=7, max_children_per_parent=3),
    ],
    ids=["diverse", "stochastic"],
)
def test_options_find_the_same(options: osf.SearchOptions, trie: osf.SidTrie) -> None:
    cpu, gpu = engines("qwen3", trie)
    want, got = (one.generate(PROMPTS, num_beams=20, options=options) for one in (cpu, gpu))
    assert got.stats.graphed == 0
    assert torch.equal(got.codes.cpu(), want.codes)
    torch.testing.assert_close(got.scores.cpu(), want.scores, atol=1e-3, rtol=0)


def test_equal_seeds_draw_equal_samples(trie: osf.SidTrie) -> None:
    want, got = (one.sample(PROMPTS, 5, seed=3) for one in engines("qwen3", trie))
    assert torch.equal(got.codes.cpu(), want.codes)
    torch.testing.assert_close(got.log_probs.cpu(), want.log_probs, atol=1e-3, rtol=0)


def test_a_live_store_is_searched_as_it_changes(tmp_path: Path) -> None:
    with osf.LiveStore.create(tmp_path / "store", random_codes(400, SIZES), SIZES) as store:
        cpu, gpu = engines("qwen3", store)
        for first in (0, 100, 200):
            store.delete(np.arange(first, first + 50))
            store.insert(np.arange(1000 + first, 1020 + first), random_codes(20, SIZES, seed=first))
            keep = store.snapshot().filter(deny=np.arange(300))
            for own in (None, [keep, None, keep]):
                want, got = (one.generate(PROMPTS, num_beams=30, filter=own) for one in (cpu, gpu))
                assert torch.equal(got.codes.cpu(), want.codes)
        assert len(buckets_of(gpu)) == 1


def test_repeats_give_the_same_bits(trie: osf.SidTrie) -> None:
    gpu = make_engine("qwen3", trie)
    first, again = (gpu.generate(PROMPTS, num_beams=30) for _ in range(2))
    assert torch.equal(first.scores, again.scores)
    assert torch.equal(first.codes, again.codes)


@pytest.mark.parametrize("model_type", ["qwen3", "bart"])
def test_a_search_waits_for_nothing(model_type: str, trie: osf.SidTrie) -> None:
    gpu = make_engine(model_type, trie)
    want = gpu.generate(PROMPTS, num_beams=30)
    torch.cuda.set_sync_debug_mode("error")
    try:
        got = gpu.generate(PROMPTS, num_beams=30)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.equal(got.scores, want.scores)


@pytest.mark.parametrize("cold", [False, True])
@pytest.mark.parametrize("cache_bytes", [0, 1 << 16, 1 << 24])
def test_streams_and_engines_do_not_disturb_each_other(
    cache_bytes: int, cold: bool, trie: osf.SidTrie
) -> None:
    """A small cache gives blocks up while others read them; cold engines record graphs at once."""
    prompts = [[*range(40)], [*range(33), 1, 2], [7] * 70]
    plain = [make_engine("qwen3", trie, seed=seed) for seed in (0, 1)]
    gpus = [
        make_engine("qwen3", trie, seed=seed, prefix_cache_bytes=cache_bytes) for seed in (0, 1)
    ]
    want = [gpu.generate(prompts, num_beams=30).scores for gpu in plain]
    if not cold:
        for gpu in gpus:
            gpu.generate(prompts, num_beams=30)

    def search(number: int) -> torch.Tensor:
        with torch.cuda.stream(torch.cuda.Stream()):
            scores = gpus[number % 2].generate(prompts, num_beams=30).scores
            torch.cuda.current_stream().synchronize()
        return scores

    with ThreadPoolExecutor(4) as threads:
        for number, scores in enumerate(threads.map(search, range(80))):
            torch.testing.assert_close(scores, want[number % 2], atol=1e-4, rtol=0)


def test_new_weights_need_no_new_graph(trie: osf.SidTrie) -> None:
    gpu, other = make_engine("qwen3", trie), make_engine("qwen3", trie, seed=1)
    gpu.generate(PROMPTS, num_beams=30)
    gpu.update_weights(random_model("qwen3", 95, seed=1))
    got, want = (one.generate(PROMPTS, num_beams=30) for one in (gpu, other))
    assert torch.equal(got.scores, want.scores)
    assert len(buckets_of(gpu)) == 1


def test_many_requests_leave_no_memory_behind(trie: osf.SidTrie) -> None:
    gpu = make_engine("qwen3", trie)

    def search(times: int) -> int:
        for number in range(times):
            own = trie.filter(deny=[number % 400])
            gpu.generate(PROMPTS[: 1 + number % 3], num_beams=9, filter=own)
        gc.collect()
        torch.cuda.synchronize()
        return torch.cuda.memory_allocated()

    before = search(1000)
    assert search(9000) <= before


def test_without_memory_a_request_is_refused_and_the_engine_lives(trie: osf.SidTrie) -> None:
    gpu = make_engine("qwen3", trie)
    want = gpu.generate(PROMPTS, num_beams=30)
    torch.cuda.empty_cache()
    _, total = torch.cuda.mem_get_info()
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + (8 << 20)) / total)
    try:
        with pytest.raises(ValueError, match="search fewer requests"):
            gpu.generate([[7] * 100] * 4000, num_beams=9)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert torch.equal(gpu.generate(PROMPTS, num_beams=30).scores, want.scores)


def test_graphs_give_way_when_their_memory_is_full(trie: osf.SidTrie) -> None:
    gpu = make_engine("qwen3", trie)
    gpu.generate(PROMPTS, num_beams=30)
    graphs = gpu._space.graphs
    assert isinstance(graphs, DecodeGraphs)
    small = make_engine("qwen3", trie, cuda_graph_bytes=graphs.nbytes + (1 << 20))
    for normalizer in ("level", "children", "level"):
        asked = {"num_beams": 30, "normalizer": normalizer}
        got, want = (one.generate(PROMPTS, **asked) for one in (small, gpu))
        assert torch.equal(got.scores, want.scores)
        assert [bucket.normalizer for bucket in buckets_of(small)] == [normalizer]
