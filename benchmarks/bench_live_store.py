"""Updates of a live store while two threads search: what searches pay, and how fast updates go.

A search is the trie step over all levels of the newest snapshot, on random logits. The writer
deletes and re-inserts items in batches, at a fixed rate or as fast as it can.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import onesearch_fast as osf
from onesearch_fast.index import LiveStore
from onesearch_fast.ops import constrained_beam_step
from onesearch_fast.testing import random_codes

LEVEL_SIZES = (1024, 512, 256)
NUM_BEAMS = 64
SECONDS = 4.0
UPDATES_PER_SECOND = 200_000


@pytest.fixture(scope="module")
def codes(request: pytest.FixtureRequest) -> np.ndarray:
    tiny = request.config.getoption("--tiny")
    return random_codes(10_000 if tiny else 1_000_000, LEVEL_SIZES)


@pytest.fixture
def store(codes: np.ndarray, tmp_path: Path) -> Iterator[LiveStore]:
    with LiveStore.create(tmp_path / "store", codes, LEVEL_SIZES) as created:
        yield created


class Searcher:
    """Searches the newest snapshot again and again, and keeps how long each search took."""

    def __init__(self, store: LiveStore) -> None:
        self._store = store
        generator = torch.Generator().manual_seed(0)
        beams = (1, NUM_BEAMS, NUM_BEAMS)
        self._logits = [
            torch.randn((1, width, size), generator=generator)
            for width, size in zip(beams, LEVEL_SIZES, strict=True)
        ]
        self.seconds: list[float] = []

    def search(self) -> None:
        snapshot = self._store.snapshot()
        node, scores = torch.zeros(1, 1, dtype=torch.int32), torch.zeros(1, 1)
        for level, logits in enumerate(self._logits):
            best = constrained_beam_step(logits, node, scores, snapshot, NUM_BEAMS, level)
            node, scores = best.node, best.scores

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            started = time.perf_counter()
            self.search()
            self.seconds.append(time.perf_counter() - started)


@contextmanager
def two_searchers(store: LiveStore) -> Iterator[list[Searcher]]:
    searchers = [Searcher(store) for _ in range(2)]
    stop = threading.Event()
    threads = [threading.Thread(target=searcher.run, args=(stop,)) for searcher in searchers]
    for thread in threads:
        thread.start()
    try:
        yield searchers
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def latencies(searchers: list[Searcher]) -> dict[str, float]:
    seconds = np.concatenate([searcher.seconds for searcher in searchers])
    p50, p99 = np.quantile(seconds, (0.5, 0.99))
    return {"searches": len(seconds), "p50_us": p50 * 1e6, "p99_us": p99 * 1e6}


def insert(store: LiveStore, codes: np.ndarray, rows: np.ndarray) -> None:
    store.insert(rows, codes[rows])


def update(store: LiveStore, codes: np.ndarray, batch: int, rate: float | None) -> dict[str, Any]:
    """Deletes a batch and inserts it again, over and over, for SECONDS."""
    started, done, calls = time.perf_counter(), 0, []
    rows = np.arange(batch)
    while (now := time.perf_counter()) - started < SECONDS:
        for change in (store.delete, partial(insert, store, codes)):
            before = time.perf_counter()
            change(rows)
            calls.append(time.perf_counter() - before)
        done += 2 * batch
        if rate is not None:
            time.sleep(max(0.0, done / rate - (now - started)))
        rows = (rows + batch) % (len(codes) - batch)
        rows.sort()
    elapsed = time.perf_counter() - started
    return {"updates_per_second": done / elapsed, "call_p99_us": np.quantile(calls, 0.99) * 1e6}


def test_idle(benchmark: Any, store: LiveStore) -> None:
    osf.set_num_threads(1)
    with two_searchers(store) as searchers:
        time.sleep(SECONDS)
    benchmark.extra_info |= latencies(searchers)
    benchmark(store.snapshot)


@pytest.mark.parametrize("rate", [UPDATES_PER_SECOND, None], ids=["200k", "unbound"])
@pytest.mark.parametrize("batch", [1, 100, 10_000])
def test_beside_searches(
    benchmark: Any, store: LiveStore, codes: np.ndarray, batch: int, rate: float | None
) -> None:
    with two_searchers(store) as searchers:
        written = update(store, codes, min(batch, len(codes) // 4), rate)
    benchmark.extra_info |= latencies(searchers) | written
    benchmark(store.snapshot)
