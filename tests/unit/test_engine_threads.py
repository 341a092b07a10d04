"""Thirty-two threads at once, for ONESEARCH_STRESS_SECONDS (3 unless set; `make stress`: 60)."""

from __future__ import annotations

import gc
import os
import random
import resource
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import onesearch_fast as osf
from onesearch_fast.testing import random_codes
from onesearch_fast.testing.random_models import random_model

SECONDS = float(os.environ.get("ONESEARCH_STRESS_SECONDS", "3"))
NUM_THREADS = 32
SIZES = (12, 10, 9, 8)
OFFSETS = (50, 62, 72, 81)
NUM_ITEMS = 400
HEAD = [(7 * i) % 50 for i in range(64)]
PROMPTS = [[5, 9, 1], HEAD, [*HEAD, 4, 4], [*HEAD[:40], 1, 2], [7]]


def resident_bytes() -> int:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def requests_of(trie: osf.SidTrie) -> list[dict[str, Any]]:
    """Single requests of every kind, and a batch of unlike ones."""
    third, few = trie.filter(allow=np.arange(0, NUM_ITEMS, 3)), trie.filter(allow=[3, 77])
    single = [
        {"input_ids": [prompt], "num_beams": beams, "filter": chosen}
        for prompt in PROMPTS
        for beams in (3, 40)
        for chosen in (None, third, few)
    ]
    filters = [None, third, few, None, third]
    batch = {"input_ids": PROMPTS, "num_beams": [3, 40, 1, 9, 17], "filter": filters}
    return [*single, batch]


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")
@pytest.mark.parametrize(("model_type", "dtype"), [("qwen3", "float32"), ("bart", "bfloat16")])
def test_many_threads_find_what_one_finds_and_keep_nothing(model_type: str, dtype: str) -> None:
    trie = osf.SidTrie.build(random_codes(NUM_ITEMS, SIZES, seed=6, skew=0.9), SIZES)
    engine = osf.Engine.from_pretrained(
        random_model(model_type, 95),
        trie,
        dtype=dtype,
        code_token_offsets=OFFSETS,
        prefix_cache_bytes=200_000,
        max_memory_bytes=1 << 30,
        deterministic=dtype != "float32",  # half precision has no other answer to compare with
    )
    asked = requests_of(trie)
    expected = [engine.generate(**one) for one in asked]

    def search_until(end: float, seed: int) -> None:
        choose, done = random.Random(seed), False
        while not done:
            number = choose.randrange(len(asked))
            check(engine, asked[number], expected[number], in_a_hurry=choose.random() < 0.1)
            done = time.monotonic() >= end

    with ThreadPoolExecutor(NUM_THREADS) as pool:
        warm = time.monotonic() + SECONDS / 3
        list(pool.map(search_until, [warm] * NUM_THREADS, range(NUM_THREADS)))
        before = resident_bytes()
        end = time.monotonic() + 2 * SECONDS / 3
        list(pool.map(search_until, [end] * NUM_THREADS, range(NUM_THREADS)))
        # What a search keeps would be there a thousand times; the rest is the allocator's.
        assert resident_bytes() - before < 32 << 20


def check(engine: osf.Engine, asked: dict[str, Any], expected: Any, in_a_hurry: bool) -> None:
    if in_a_hurry:
        assert engine.generate(**asked, deadline_ms=0).count.tolist() == expected.count.tolist()
        return
    got = engine.generate(**asked)
    torch.testing.assert_close(got.scores, expected.scores, atol=1e-4, rtol=0)
    assert torch.equal(got.item_ids(20)[0], expected.item_ids(20)[0])
