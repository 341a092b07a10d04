"""Vectorised steps down a `SidTrie`, for code that keeps its own nodes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from onesearch_fast.index.item_filter import ItemFilter
from onesearch_fast.index.sid_trie import SidTrie

Nodes = npt.NDArray[np.int64]


def child_nodes(trie: SidTrie, level: int, nodes: Nodes, codes: npt.ArrayLike) -> Nodes:
    """The child of each node of `level` by each code, int64 [n]; -1 where there is none.

    A node of -1 has no children. Cost: one binary search per node, all of them side by side.
    """
    wanted = np.asarray(codes)
    tokens = trie.child_token(level)
    low, end = trie.child_range(level, nodes)
    high = end.copy()
    while (low < high).any():
        middle = (low + high) // 2
        # An emptied range keeps looking at its own bound, which changes nothing.
        below = tokens[np.minimum(middle, len(tokens) - 1)] < wanted
        open_range = low < high
        low = np.where(open_range & below, middle + 1, low)
        high = np.where(open_range & ~below, middle, high)
    # An unverified trie may hold tokens past the level's size, which lead nowhere.
    found = (low < end) & (wanted < trie.level_sizes[level])
    found[found] = tokens[low[found]] == wanted[found]
    return np.where(found, low, -1)


def valid_tokens(
    trie: SidTrie, level: int, nodes: Nodes, filter: ItemFilter | None = None
) -> npt.NDArray[np.bool_]:
    """Which codes lead from each node of `level` to an (allowed) item: bool [n, level size]."""
    begin, end = trie.child_range(level, nodes)
    counts = end - begin
    rows = np.repeat(np.arange(len(nodes)), counts)
    edges = np.arange(len(rows)) + np.repeat(begin - (np.cumsum(counts) - counts), counts)
    tokens = trie.child_token(level)[edges]
    size = trie.level_sizes[level]
    kept = tokens < size
    if filter is not None:
        kept &= filter.allows(level + 1, edges)
    valid = np.zeros((len(nodes), size), dtype=np.bool_)
    valid[rows[kept], tokens[kept]] = True
    return valid
