"""Building the trie, against the same nodes found by a sort in numpy."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from onesearch_fast.cli.bench import Row
from onesearch_fast.index.sid_trie import SidTrie
from onesearch_fast.testing import random_codes, time_alternating

LEVEL_SIZES = (2048, 512, 256)


def nodes_of_trie(codes: np.ndarray) -> list[int]:
    trie = SidTrie.build(codes, LEVEL_SIZES)
    return [trie.num_nodes(level) for level in range(1, len(LEVEL_SIZES) + 1)]


def nodes_by_sort(codes: np.ndarray) -> list[int]:
    """Distinct prefixes of each length: where neighbours of the sorted codes differ."""
    ordered = codes[np.lexsort(codes.T[::-1])]
    differs = np.logical_or.accumulate(ordered[1:] != ordered[:-1], axis=1)
    return [int(level) + 1 for level in differs.sum(axis=0)]


def assert_equal(ours: list[int], theirs: list[int]) -> None:
    if ours != theirs:
        raise AssertionError(f"nodes per level: {ours}, want {theirs}")


def rows() -> Iterator[Row]:
    """Catalogues of 10,000 to 1,000,000 items, unsorted, with duplicates."""
    for num_items in (10_000, 100_000, 1_000_000):
        codes = random_codes(num_items, LEVEL_SIZES, skew=0.5)
        rivals = {"ours": partial(nodes_of_trie, codes), "numpy": partial(nodes_by_sort, codes)}
        times = time_alternating(rivals, assert_equal, repeats=5)
        yield Row("trie build", f"{num_items:,} items", times["ours"], "numpy sort", times["numpy"])
