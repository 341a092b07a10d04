"""The live store: updates by batch size, the swap of snapshots, and searches beside updates.

    pytest -o python_files='bench_*.py' benchmarks/bench_live_store.py --benchmark-json=live.json

A search is a whole one, of a 29M-parameter model by `Engine.generate`; or the bare walk of one
query down all levels with `constrained_beam_step`, its logits being ready: a fraction of a
millisecond, so that it shows the writer's every turn on a processor. Searches beside updates are
compared with searches alone, and with searches beside a thread that only computes, without the
interpreter's lock and without memory, as often and as long as the updates did: what that one costs
is the share of the processors, the rest is the store's. `extra_info` holds the figures.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from engine_setup import Setup, model, prompts

from onesearch_fast.engine.engine import Engine
from onesearch_fast.index import LiveStore, SidTrie, Snapshot
from onesearch_fast.ops import BeamStepResult, constrained_beam_step
from onesearch_fast.testing import random_codes
from onesearch_fast.testing.random_models import QWEN3_29M

QWEN3 = Setup("qwen3", QWEN3_29M, (4096, 1024, 512, 256, 256), 4000, 10_000_000, 64)
LEVEL_SIZES = QWEN3.level_sizes
NUM_BEAMS = 256
SEARCHERS = 2
NEVER = 1 << 40
UPDATES_PER_SECOND = 200_000
SECONDS = 5.0


@dataclass(frozen=True)
class Scale:
    """Sizes of a run."""

    num_items: int
    overlay_items: int  # what is inserted before anything is timed
    seconds: float

    @classmethod
    def of(cls, tiny: bool) -> Scale:
        return cls(100_000, 2_000, 0.3) if tiny else cls(10_000_000, 65_536, SECONDS)

    @property
    def num_updates(self) -> int:
        return int(UPDATES_PER_SECOND * self.seconds)


class Catalogue:
    """A store of `num_items` items with ids 0, 3, 6, ..., and new items to insert."""

    def __init__(self, folder: Path, scale: Scale, compact_after: int) -> None:
        self.scale = scale
        codes = random_codes(scale.num_items, LEVEL_SIZES)
        self.store = LiveStore.create(
            folder,
            codes,
            LEVEL_SIZES,
            3 * np.arange(scale.num_items),
            columns={"price": np.arange(scale.num_items) % 1000},
            compact_after=compact_after,
        )
        self._dead = iter(np.random.default_rng(0).permutation(scale.num_items))
        self._next = 0
        self.store.insert(*self.fresh(scale.overlay_items))

    def fresh(self, n: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
        """Ids and codes of n new items."""
        self._next += n
        ids = 3 * np.arange(self._next - n, self._next) + 1
        return ids, random_codes(n, LEVEL_SIZES, seed=self._next)

    def living(self, n: int) -> npt.NDArray[np.int64]:
        """Ids of n items of the base that no call gave before."""
        return 3 * np.fromiter(self._dead, np.int64, n)


@pytest.fixture(scope="module")
def catalogue(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Catalogue]:
    scale = Scale.of(request.config.getoption("--tiny"))
    made = Catalogue(tmp_path_factory.mktemp("live") / "store", scale, NEVER)
    yield made
    made.store.close()


def insert(catalogue: Catalogue, n: int) -> Callable[[], int]:
    ids, codes = catalogue.fresh(n)
    return lambda: catalogue.store.insert(ids, codes)


def delete(catalogue: Catalogue, n: int) -> Callable[[], int]:
    ids = catalogue.living(n)
    return lambda: catalogue.store.delete(ids)


def update_scores(catalogue: Catalogue, n: int) -> Callable[[], int]:
    ids, scores = catalogue.living(n), np.random.default_rng(n).random(n)
    return lambda: catalogue.store.update_scores(ids, scores)


def update_attributes(catalogue: Catalogue, n: int) -> Callable[[], int]:
    ids = catalogue.living(n)
    return lambda: catalogue.store.update_attributes(ids, {"price": ids % 1000})


@pytest.mark.parametrize("batch", [1, 10, 100, 1000, 10_000])
@pytest.mark.parametrize("update", [insert, delete, update_scores, update_attributes])
def test_updates(
    benchmark: Any, catalogue: Catalogue, update: Callable[..., Any], batch: int
) -> None:
    """One batch, over an overlay that what is inserted lets grow by a few thousand items."""
    if batch > catalogue.scale.num_items // 100:
        pytest.skip("too few items")
    before = catalogue.store.snapshot()
    rounds = 3 if batch == 10_000 else 20
    benchmark.pedantic(
        lambda call: call(), setup=lambda: ((update(catalogue, batch),), {}), rounds=rounds
    )
    benchmark.extra_info["updates_per_second"] = batch / benchmark.stats.stats.min
    assert catalogue.store.snapshot().version == before.version + rounds
    overlay = catalogue.store.snapshot().num_nodes(len(LEVEL_SIZES)) - catalogue.scale.num_items
    benchmark.extra_info["overlay_items"] = overlay


class Walk:
    """One query's searches without a model, with logits and memory of its own."""

    def __init__(self, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.logits = [
            torch.randn(1, NUM_BEAMS if level else 1, size, generator=generator)
            for level, size in enumerate(LEVEL_SIZES)
        ]
        self.out = [BeamStepResult.empty(1, NUM_BEAMS) for _ in LEVEL_SIZES]
        self.first = torch.zeros(1, 1, dtype=torch.int32), torch.zeros(1, 1)

    def __call__(self, catalogue: SidTrie | Snapshot) -> BeamStepResult:
        node, scores = self.first
        for level, (logits, out) in enumerate(zip(self.logits, self.out, strict=True)):
            step = constrained_beam_step(logits, node, scores, catalogue, NUM_BEAMS, level, out=out)
            node, scores = step.node, step.scores
        return step


@dataclass(frozen=True)
class Latency:
    """Of many calls, in microseconds."""

    p50_us: float
    p99_us: float
    max_us: float
    calls: int

    @classmethod
    def of(cls, seconds: list[float]) -> Latency:
        p50, p99, most = np.percentile(np.array(seconds) * 1e6, [50, 99, 100])
        return cls(float(p50), float(p99), float(most), len(seconds))


Search = Callable[[Snapshot], Any]


def walk(store: LiveStore, seed: int) -> Search:
    """The bare walk of one query."""
    return Walk(seed)


def whole(store: LiveStore, seed: int) -> Search:
    """The search of one prompt by a model; the engine takes the latest snapshot itself."""
    engine = Engine.from_pretrained(
        model(QWEN3), store, dtype="bfloat16", code_token_offsets=QWEN3.offsets
    )
    ids = prompts(QWEN3)
    return lambda _: engine.generate(ids, num_beams=64)


def search_until(
    store: LiveStore, search: Search, finished: threading.Event
) -> tuple[list[float], list[float]]:
    """Seconds of each search, and of each `snapshot()` before it."""
    searches: list[float] = []
    snapshots: list[float] = []
    while not finished.is_set():
        begin = time.perf_counter()
        snapshot = store.snapshot()
        pinned = time.perf_counter()
        search(snapshot)
        searches.append(time.perf_counter() - pinned)
        snapshots.append(pinned - begin)
    return searches, snapshots


def latencies(
    store: LiveStore, searches_of: list[Search], work: Callable[[], None]
) -> dict[str, Any]:
    """Of searches, on a thread each, and of snapshots for as long as `work` takes."""
    finished = threading.Event()
    searches: list[float] = []
    snapshots: list[float] = []

    def run(search: Search) -> None:
        own = search_until(store, search, finished)
        searches.extend(own[0])
        snapshots.extend(own[1])

    threads = [threading.Thread(target=run, args=(search,)) for search in searches_of]
    for thread in threads:
        thread.start()
    try:
        work()
    finally:
        finished.set()
        for thread in threads:
            thread.join()
    return {"search": asdict(Latency.of(searches)), "snapshot": asdict(Latency.of(snapshots))}


Call = Callable[[], Any]


def standing_updates(catalogue: Catalogue, batch: int, n: int) -> list[Call]:
    """Inserts in turn with deletes of what came last: the overlay keeps its size."""
    calls: list[Call] = []
    for _ in range(n // (2 * batch)):
        ids, codes = catalogue.fresh(batch)
        calls.append(partial(catalogue.store.insert, ids, codes))
        calls.append(partial(catalogue.store.delete, ids))
    return calls


def growing_updates(catalogue: Catalogue, batch: int, n: int) -> list[Call]:
    """Inserts in turn with deletes from the base: what compactions are for."""
    kinds = (insert, delete)
    return [kinds[i % 2](catalogue, batch) for i in range(n // batch)]


class Writer:
    """Makes the calls, of one batch each, evenly over `seconds`, or one right after the other."""

    def __init__(self, calls: list[Call], seconds: float | None) -> None:
        self._calls = calls
        self._interval = 0.0 if seconds is None else seconds / len(calls)
        self.cpu_seconds: list[float] = []  # of each call
        self.wall_seconds = 0.0

    def run(self) -> None:
        begin = time.perf_counter()
        for i, call in enumerate(self._calls):
            time.sleep(max(0.0, begin + i * self._interval - time.perf_counter()))
            before = time.thread_time()
            call()
            self.cpu_seconds.append(time.thread_time() - before)
        self.wall_seconds = time.perf_counter() - begin


def compute(rounds: int) -> None:
    """Keeps a processor busy without the interpreter's lock, and without reading memory."""
    hashlib.pbkdf2_hmac("sha256", b"", b"", rounds)


def computing(seconds: list[float]) -> list[Call]:
    """Calls that compute for so long each."""
    rounds = 100_000
    before = time.thread_time()
    compute(rounds)
    per_second = rounds / (time.thread_time() - before)
    return [partial(compute, max(1, round(one * per_second))) for one in seconds]


def assert_searches_equal(snapshot: Snapshot) -> None:
    """One search finds the same in the snapshot as in a trie built of its items."""
    ranks = np.arange(snapshot.num_nodes(snapshot.num_levels))
    ids, offsets = snapshot.items(ranks)
    codes = np.repeat(snapshot.codes(ranks), np.diff(offsets), axis=0)
    trie = SidTrie.build(codes, LEVEL_SIZES, ids)
    found, expected = Walk(9)(snapshot), Walk(9)(trie)
    assert (snapshot.codes(found.node[0]) == trie.codes(expected.node[0])).all()
    assert torch.equal(found.scores, expected.scores)


@dataclass(frozen=True)
class Load:
    """How searches and updates meet."""

    search: Callable[[LiveStore, int], Search] = walk
    batch: int = 1000
    bound: bool = True  # to UPDATES_PER_SECOND; else as fast as one thread goes
    compactions: bool = False

    def __str__(self) -> str:
        rate = "200k" if self.bound else "unbound"
        overlay = "compactions" if self.compactions else "standing"
        return f"{self.search.__name__}-batch={self.batch}-{rate}-{overlay}"


LOADS = [
    *(Load(batch=batch) for batch in (100, 1000, 4000, 10_000)),
    Load(bound=False),
    Load(compactions=True),
    Load(search=whole),
    Load(search=whole, compactions=True),
]


@pytest.mark.parametrize("load", LOADS, ids=str)
def test_searches_while_updates_run(benchmark: Any, tmp_path: Path, tiny: bool, load: Load) -> None:
    """Updates beside two searching threads, against the same searches alone."""
    scale = Scale.of(tiny)
    compact_after = scale.num_items // 50 if load.compactions else NEVER
    catalogue = Catalogue(tmp_path / "store", scale, compact_after)
    store = catalogue.store
    make = growing_updates if load.compactions else standing_updates
    calls = make(catalogue, min(load.batch, scale.overlay_items), scale.num_updates)
    seconds = scale.seconds if load.bound else None
    searches = [load.search(store, seed) for seed in range(SEARCHERS)]
    latencies(store, searches, lambda: time.sleep(0.5))  # what a first search makes once
    idle = latencies(store, searches, lambda: time.sleep(scale.seconds))
    writer = Writer(calls, seconds)
    loaded = latencies(store, searches, writer.run)
    generation = store.snapshot().generation
    store.wait_for_compaction()
    assert_searches_equal(store.snapshot())
    beside_computing = latencies(
        store, searches, Writer(computing(writer.cpu_seconds), seconds).run
    )
    benchmark.extra_info |= {
        "updates_per_second": scale.num_updates / writer.wall_seconds,
        "batch": load.batch,
        "writer_cpu_share": sum(writer.cpu_seconds) / writer.wall_seconds,
        "idle": idle,
        "loaded": loaded,
        "beside_computing": beside_computing,
        "search_p99_ratio": p99_ratio(loaded, idle),
        "search_p99_ratio_of_computing": p99_ratio(beside_computing, idle),
        "compactions": generation - 1,
    }
    benchmark(store.snapshot)
    store.close()


def p99_ratio(loaded: dict[str, Any], idle: dict[str, Any]) -> float:
    return float(loaded["search"]["p99_us"] / idle["search"]["p99_us"])


def test_swap(benchmark: Any, catalogue: Catalogue) -> None:
    """Taking a new version, and what its first search pays that the second does not."""
    search = Walk(0)
    taken, first, second = [], [], []
    for _ in range(200):
        catalogue.store.delete(catalogue.living(1))
        begin = time.perf_counter()
        snapshot = catalogue.store.snapshot()
        taken.append(time.perf_counter() - begin)
        for seconds in (first, second):
            begin = time.perf_counter()
            search(snapshot)
            seconds.append(time.perf_counter() - begin)
    benchmark.extra_info |= {
        "snapshot": asdict(Latency.of(taken)),
        "first_search": asdict(Latency.of(first)),
        "second_search": asdict(Latency.of(second)),
    }
    benchmark(catalogue.store.snapshot)
