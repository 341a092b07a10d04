"""Whole searches of random models: as one graph, level by level, and by `transformers` generate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import torch
from engine_setup import Setup, trie
from gpu_operators import Row, Rows
from gpu_timing import Target, Work, compiled_variants

import onesearch_fast as osf
from onesearch_fast.integrations.transformers import TrieLogitsProcessor
from onesearch_fast.testing.random_models import (
    BART_BASE,
    ModelSize,
    generate_with_transformers,
    random_model,
)

QWEN3_1_7B = ModelSize(2048, 28, 16, 8, 128, 6144, 8192)
QWEN3_0_6B = ModelSize(1024, 28, 16, 8, 128, 3072, 8192)
FIVE_LEVELS = (4096, 1024, 512, 256, 256)
TEXT_TOKENS, NUM_ITEMS = 7680, 1_000_000
BART = Setup("bart", BART_BASE, FIVE_LEVELS, TEXT_TOKENS, NUM_ITEMS, 512)
SMALL = Setup("qwen3", QWEN3_0_6B, FIVE_LEVELS, TEXT_TOKENS, NUM_ITEMS, 512)
LARGE = Setup("qwen3", QWEN3_1_7B, (8192,) * 3, TEXT_TOKENS, NUM_ITEMS, 1000)


@dataclass(frozen=True)
class Search:
    """One shape of a search; `raced`: `transformers` generate beside it."""

    name: str
    setup: Setup
    batch: int
    num_beams: int
    raced: bool = False


SEARCHES = (
    Search("BART-base", BART, 1, 512, raced=True),
    Search("Qwen3-0.6B", SMALL, 1, 512, raced=True),
    Search("Qwen3-1.7B", LARGE, 1, 256),
    Search("Qwen3-1.7B", LARGE, 8, 256),
    Search("Qwen3-1.7B", replace(LARGE, prompt=5000), 1, 256),
    Search("Qwen3-1.7B", replace(LARGE, prompt=5000), 8, 256),
)


def measure(target: Target) -> Rows:
    """Every search by ours; then, which takes seconds a run, the rival's."""
    searches = [shrunk(one) for one in SEARCHES[:3]] if target.dry else SEARCHES
    for search in searches:
        yield label_of(search), partial(time_search, target, search)
    yield {"model": "compiled variants"}, compiled_variants
    for search in searches:
        if search.raced:
            label = label_of(search) | {"rival": "transformers generate"}
            yield label, partial(race_generate, target, search)


def shrunk(search: Search) -> Search:
    return replace(search, setup=search.setup.tiny(), num_beams=16)


def label_of(search: Search) -> Row:
    setup = search.setup
    sizes = {"levels": list(setup.level_sizes), "prompt": setup.prompt}
    return {"model": search.name, **sizes, "batch": search.batch, "num_beams": search.num_beams}


def without_prompt(search: Search) -> Setup:
    """Searches that differ in prompts alone share a model, a catalogue and an engine."""
    return replace(search.setup, prompt=0)


@cache
def weights(target: Target, setup: Setup) -> torch.nn.Module:
    options: dict[str, Any] = {"tie_word_embeddings": True, "device": target.device}
    return random_model(setup.model_type, setup.vocab_size, size=setup.size, spread=0.04, **options)


@cache
def engine(target: Target, setup: Setup) -> osf.Engine:
    return osf.Engine.from_pretrained(
        weights(target, setup),
        trie(setup),
        device=target.device,
        dtype="bfloat16",
        code_token_offsets=setup.offsets,
    )


def generation(target: Target, search: Search, **options: Any) -> partial[Any]:
    ids = torch.randint(3, search.setup.text_tokens, (search.batch, search.setup.prompt))
    chosen = engine(target, without_prompt(search))
    return partial(chosen.generate, ids, num_beams=search.num_beams, **options)


def time_search(target: Target, search: Search) -> Row:
    graphed: Any = generation(target, search)
    # A deadline, which no graph can keep, has the levels launched one by one.
    by_step = partial(graphed, deadline_ms=3_600_000)
    got, want = graphed(), by_step()
    assert (got.stats.graphed, want.stats.graphed) == (0 if target.dry else 1, 0)
    assert bool((got.count == search.num_beams).all())
    torch.testing.assert_close(got.scores, want.scores, rtol=1e-2, atol=1e-2)
    whole = target.from_the_host(graphed)
    row: Row = {"requests_per_s": 1e6 * search.batch / whole["median_us"], "whole": whole}
    row["by step"] = target.from_the_host(by_step)
    if not target.dry:
        replay = newest_graph(graphed.func.__self__).captured.replay
        row["all levels"] = target.microseconds(replay, repeats=20)
        row["parts of all levels"] = kernel_shares(target, replay)
    row["parts of the whole"] = kernel_shares(target, graphed)
    return row


def newest_graph(searched: Any) -> Any:
    return next(reversed(searched._space.graphs._graphs.values()))


# Parts of kernels' names: ours, and torch's attention, which reads prompts.
PARTS = {
    "selection": ("constrained_beam_step",),
    "attention": ("attention", "flash", "fmha", "sdpa"),
}


def kernel_shares(target: Target, work: Work) -> dict[str, float]:
    """The parts of selection and of attention in the time of all kernels."""
    activities = torch.profiler.ProfilerActivity
    activity = activities.CPU if target.dry else activities.CUDA
    with torch.profiler.profile(activities=[activity]) as profile:
        work()
        target.wait()
    times = {event.key: event.self_device_time_total for event in profile.key_averages()}
    total = max(sum(times.values()), 1)
    return {
        part: sum(time for key, time in times.items() if any(name in key for name in names)) / total
        for part, names in PARTS.items()
    }


def race_generate(target: Target, search: Search) -> Row:
    """Both normalised over the vocabulary; the part of the rival's beams that ours has too."""
    ours, theirs = generation(target, search, normalizer="vocab"), generated(target, search)
    ids = ours.args[0]
    found = ours().codes[0].cpu() + torch.tensor(search.setup.offsets)
    tokens = theirs(ids)[0][0].cpu()
    shared = {*map(tuple, found.tolist())} & {*map(tuple, tokens.tolist())}
    row: Row = {"shared_beams": len(shared) / search.num_beams}
    assert len(shared) > 0.5 * search.num_beams, row
    row["ours"] = target.from_the_host(ours)
    row["theirs"] = target.from_the_host(partial(theirs, ids), repeats=1)
    row["times_faster"] = row["theirs"]["median_us"] / row["ours"]["median_us"]
    return row


def generated(target: Target, search: Search) -> Callable[[torch.Tensor], Any]:
    """By our logits processor, which is faster than the usual dictionary."""
    setup = search.setup
    model = weights(target, without_prompt(search)).bfloat16()  # the engine has its own
    catalogue = trie(without_prompt(search))

    def run(ids: torch.Tensor) -> Any:
        processor = TrieLogitsProcessor(catalogue, setup.offsets, setup.first_code)
        own = ids.to(target.device)
        return generate_with_transformers(
            model,
            own,
            torch.ones_like(own),
            search.num_beams,
            len(setup.level_sizes),
            setup.start_tokens,
            logits_processor=[processor],
        )

    return run
