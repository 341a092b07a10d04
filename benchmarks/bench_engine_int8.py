"""Searches with products of 8 bits against bfloat16: their time, and what becomes of the ranking.

"top10_overlap" is the mean share of the ten best SIDs that both agree on, over 16 prompts.
`--served DIR` adds a trained model, asked for the titles of its own items.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bench_engine_bart import BART
from bench_engine_generate import QWEN3
from engine_setup import engine, prompts

import onesearch_fast as osf
from onesearch_fast.engine.result import GenerateResult

SETUPS = {"qwen3-29m": (QWEN3, 256), "bart-base": (BART, 512)}
NUM_PROMPTS = 16


def mean_overlap(ours: list[list[Any]], theirs: list[list[Any]]) -> float:
    shares = [len({*a} & {*b}) / max(1, len(b)) for a, b in zip(ours, theirs, strict=True)]
    return sum(shares) / len(shares)


def best_sids(result: GenerateResult) -> list[list[Any]]:
    return [[tuple(codes) for codes in row] for row in result.codes[:, :10].tolist()]


@pytest.mark.parametrize("name", SETUPS)
def test_random_weights(race: Callable[..., None], benchmark: Any, tiny: bool, name: str) -> None:
    setup, num_beams = SETUPS[name]
    if tiny:
        setup, num_beams = setup.tiny(), 32
    narrow, half = engine(setup, "bfloat16", "int8"), engine(setup, "bfloat16")
    many = [best_sids(one.generate(prompts(setup, NUM_PROMPTS))) for one in (narrow, half)]
    benchmark.extra_info["top10_overlap"] = mean_overlap(*many)

    def assert_near(ours: GenerateResult, theirs: GenerateResult) -> None:
        assert mean_overlap(best_sids(ours), best_sids(theirs)) >= 0.3

    ids = prompts(setup)
    rivals = {
        "engine, 8 bits": lambda: narrow.generate(ids, num_beams=num_beams),
        "engine, bfloat16": lambda: half.generate(ids, num_beams=num_beams),
    }
    race(rivals, assert_near, repeats=7)


def test_trained_weights(race: Callable[..., None], benchmark: Any, served: Path | None) -> None:
    if served is None:
        pytest.skip("--served DIR")
    narrow, half = (
        osf.Searcher.load(served, dtype="bfloat16", quantization=quantization)
        for quantization in ("int8", None)
    )
    rows = range(0, len(half.items), max(1, len(half.items) // 500))
    requests = [osf.SearchRequest(query=half.items[row].title) for row in rows]

    def ids(searcher: osf.Searcher) -> list[list[Any]]:
        return [[hit.item_id for hit in hits] for hits in searcher.search(requests, k=10)]

    def assert_near(ours: list[list[Any]], theirs: list[list[Any]]) -> None:
        benchmark.extra_info["top10_overlap"] = mean_overlap(ours, theirs)
        assert mean_overlap(ours, theirs) >= 0.7

    race({"8 bits": lambda: ids(narrow), "bfloat16": lambda: ids(half)}, assert_near, repeats=3)
