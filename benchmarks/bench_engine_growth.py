"""How the time of a search grows: with beams, prompt tokens, requests in a batch, and items.

The 29M-parameter Qwen3-type model of bench_engine_generate.py in bfloat16; one size grows at a
time, the others stay. Items must not matter: a step touches the children of living beams only.
`plot_growth.py` draws the results.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from bench_engine_generate import QWEN3
from engine_setup import Setup, model, prompts

import onesearch_fast as osf

NUM_BEAMS, BATCH = 256, 1
SIZES = {
    "num_beams": (32, 64, 128, 256, 512, 1024),
    "prompt": (64, 128, 256, 512, 1024, 2048),
    "batch": (1, 2, 4, 8, 16, 32),
    "num_items": (10_000, 100_000, 1_000_000, 10_000_000, 100_000_000),
}


@pytest.fixture(scope="module")
def engine() -> Callable[[Setup], osf.Engine]:
    """The engine of a setup; the one before is dropped, since a large trie fills the memory."""
    kept: dict[Setup, osf.Engine] = {}

    def get(setup: Setup) -> osf.Engine:
        if setup not in kept:
            kept.clear()
            gc.collect()
            kept[setup] = osf.Engine.from_pretrained(
                model(replace(setup, num_items=0, prompt=0)),
                large_trie(setup),
                dtype="bfloat16",
                code_token_offsets=setup.offsets,
            )
        return kept[setup]

    return get


def large_trie(setup: Setup) -> osf.SidTrie:
    """Over even codes: drawing skewed ones for 100 million items would need the whole memory."""
    rng = np.random.default_rng(0)
    codes = np.empty((setup.num_items, len(setup.level_sizes)), dtype=np.uint16)
    for level, size in enumerate(setup.level_sizes):
        codes[:, level] = rng.integers(size, size=setup.num_items, dtype=np.uint16)
    return osf.SidTrie.build(codes, setup.level_sizes)


def cases() -> list[Any]:
    return [
        pytest.param(axis, value, id=f"{axis}={value}")
        for axis, values in SIZES.items()
        for value in values
    ]


@pytest.mark.parametrize(("axis", "value"), cases())
def test_growth(
    benchmark: Any, engine: Callable[[Setup], osf.Engine], tiny: bool, axis: str, value: int
) -> None:
    if tiny and value > 4096:
        pytest.skip("--tiny")
    setup = QWEN3.tiny() if tiny else QWEN3
    if axis in ("prompt", "num_items"):
        setup = replace(setup, **{axis: value})
    if tiny:
        setup = replace(setup, size=replace(setup.size, max_positions=4096))
    num_beams = value if axis == "num_beams" else NUM_BEAMS
    ids = prompts(setup, value if axis == "batch" else BATCH)
    chosen = engine(replace(setup, prompt=0))
    out = chosen.generate(ids, num_beams=num_beams)
    scores = chosen.score(ids, out.codes)
    torch.testing.assert_close(scores, out.scores, atol=0.5, rtol=0.05)
    assert chosen.trie.contains(out.codes.flatten(0, 1).numpy()).all()
    benchmark.extra_info.update(axis=axis, value=value)
    benchmark.pedantic(chosen.generate, (ids,), {"num_beams": num_beams}, rounds=7, warmup_rounds=1)
