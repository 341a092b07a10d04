"""Building the trie from unsorted codes with duplicates, one thread.

Rivals: STATIC's construction in numpy (static_reference.py) and a trie of nested dicts.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from static_reference import StaticIndex

from onesearch_fast.index.sid_trie import SidTrie
from onesearch_fast.testing import random_codes

CATALOGUES = {
    "100k-3x256-uniform": (100_000, (256,) * 3, 0.0),
    "100k-5x256-zipf": (100_000, (256,) * 5, 1.0),
    "1M-3x2048-uniform": (1_000_000, (2048,) * 3, 0.0),
}


def nodes_of_dict_trie(codes: np.ndarray) -> tuple[int, ...]:
    """Builds nested dicts, the usual index in plain Python, and counts the nodes of each level."""
    nodes = [0] * codes.shape[1]
    root: dict[int, dict] = {}
    for sid in codes.tolist():
        children = root
        for level, code in enumerate(sid):
            if code not in children:
                children[code] = {}
                nodes[level] += 1
            children = children[code]
    return tuple(nodes)


def assert_same_nodes(ours: tuple[int, ...], theirs: tuple[int, ...]) -> None:
    assert ours == theirs


@pytest.mark.parametrize("name", CATALOGUES)
def test_build(race: Callable[..., None], name: str) -> None:
    num_items, level_sizes, skew = CATALOGUES[name]
    codes = random_codes(num_items, level_sizes, skew=skew)

    def native() -> tuple[int, ...]:
        trie = SidTrie.build(codes, level_sizes)
        return tuple(trie.num_nodes(level) for level in range(1, len(level_sizes) + 1))

    rivals = {
        "native": native,
        "STATIC's algorithm": lambda: StaticIndex.build(codes, level_sizes[0]).nodes_per_level,
        "dict of dicts": lambda: nodes_of_dict_trie(codes),
    }
    race(rivals, assert_same_nodes, repeats=3)
