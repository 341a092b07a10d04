"""FilterCache: what it gives equals what it saves, and what it holds is bounded."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from onesearch_fast.index import FilterCache, ItemColumns, SidTrie, col
from onesearch_fast.testing.tries import random_codes

SIZES = (6, 5, 4)
NUM_ITEMS = 3000


@pytest.fixture(scope="module")
def trie() -> SidTrie:
    return SidTrie.build(random_codes(NUM_ITEMS, SIZES), SIZES)


@pytest.fixture(scope="module")
def columns(trie: SidTrie) -> ItemColumns:
    return ItemColumns.build(trie, {"price": np.arange(NUM_ITEMS) % 97})


def test_what_is_found_again_is_what_was_made(trie: SidTrie, columns: ItemColumns) -> None:
    cache = FilterCache()
    mask = np.arange(NUM_ITEMS) % 2 == 0
    requests = [
        {"where": col("price") < 50, "columns": columns},
        {"where": "price < 50", "columns": columns, "deny": [1, 2, 3]},
        {"allow": mask},
        {"allow": [5, 6], "deny": mask},
        {},
    ]
    for _ in range(2):
        for request in requests:
            expected = trie.filter(**request).item_allowed()
            assert (cache.filter(trie, **request).item_allowed() == expected).all()
    # The expression serves two requests; what follows from nothing is not kept.
    assert (cache.statistics.misses, cache.statistics.hits) == (4, 5)
    assert cache.statistics.num_entries == 4


def test_requests_that_differ_are_told_apart(trie: SidTrie, columns: ItemColumns) -> None:
    cache = FilterCache()
    other = ItemColumns.build(trie, {"price": np.zeros(NUM_ITEMS)})
    other_trie = SidTrie.build(random_codes(NUM_ITEMS, SIZES, seed=1), SIZES)
    mask = np.zeros(NUM_ITEMS, dtype=bool)
    counts = [
        cache.filter(trie, allow=[7]).num_allowed_items,
        cache.filter(trie, deny=[7]).num_allowed_items,
        cache.filter(trie, allow=[]).num_allowed_items,
        cache.filter(trie, allow=mask).num_allowed_items,
        cache.filter(other_trie, allow=[7, 8]).num_allowed_items,
        cache.filter(trie, where=col("price") == 0, columns=columns).num_allowed_items,
        cache.filter(trie, where=col("price") == 0, columns=other).num_allowed_items,
        cache.filter(trie, where=col("price") == 1, columns=columns).num_allowed_items,
    ]
    assert counts == [1, NUM_ITEMS - 1, 0, 0, 2, 31, NUM_ITEMS, 31]
    assert cache.statistics.hits == 0
    assert cache.filter(trie, allow=[8, 7]).num_allowed_items == 2
    assert cache.filter(trie, allow=[7, 8]).trie is trie
    assert cache.statistics.hits == 1


def test_the_least_recently_used_go_first(trie: SidTrie) -> None:
    size = trie.filter(deny=[0])._handle.nbytes
    cache = FilterCache(max_bytes=2 * size + 100)
    for item in (0, 1, 0, 2):
        cache.filter(trie, deny=[item])
    assert cache.statistics.evictions == 1
    cache.filter(trie, deny=[0])
    assert cache.statistics.hits == 2
    assert cache.statistics.nbytes <= 2 * size + 100
    cache.clear()
    assert (cache.statistics.num_entries, cache.statistics.nbytes) == (0, 0)
    small = FilterCache(max_bytes=1)
    assert small.filter(trie, deny=[0]).num_allowed_items == NUM_ITEMS - 1
    assert small.statistics.num_entries == 0


def test_many_threads_share_a_cache(trie: SidTrie, columns: ItemColumns) -> None:
    cache = FilterCache(max_bytes=20_000)
    wrong = []

    def search(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(200):
            bound = int(rng.integers(0, 97))
            found = cache.filter(trie, where=col("price") < bound, columns=columns)
            if found.num_allowed_items != np.sum(np.arange(NUM_ITEMS) % 97 < bound):
                wrong.append(bound)

    threads = [threading.Thread(target=search, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert cache.statistics.hits + cache.statistics.misses == 1200


def test_bad_arguments_are_refused(trie: SidTrie, columns: ItemColumns) -> None:
    with pytest.raises(ValueError, match="max_bytes: expected an integer of at least 1, got 0"):
        FilterCache(max_bytes=0)
    with pytest.raises(TypeError, match="catalogue: expected a SidTrie or a Snapshot"):
        FilterCache().filter("trie")
    with pytest.raises(TypeError, match="columns: expected ItemColumns of this trie"):
        FilterCache().filter(trie, where=col("price") < 1)
