"""Vectorised steps down a `SidTrie`, for code that keeps its own nodes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from onesearch_fast.index.item_filter import ItemFilter
from onesearch_fast.index.sid_trie import SidTrie

Nodes = npt.NDArray[np.int64]


def child_nodes(trie: SidTrie, level: int, nodes: Nodes, codes: npt.ArrayLike) -> Nodes:
    """The child of each node of `level` by each code, int64 [n]; -1 where there is none.

    A node of -1 has no children. Cost: one binary search per node.
    """
    return trie.child(level, nodes, np.broadcast_to(np.asarray(codes), np.shape(nodes)))


def valid_tokens(
    trie: SidTrie, level: int, nodes: Nodes, filter: ItemFilter | None = None
) -> npt.NDArray[np.bool_]:
    """Which codes lead from each node of `level` to an (allowed) item: bool [n, level size]."""
    tokens, offsets = trie.children(level, nodes)
    counts = np.diff(offsets)
    rows = np.repeat(np.arange(len(nodes)), counts)
    begin, _ = trie.child_range(level, nodes)
    edges = np.arange(len(rows)) + np.repeat(begin - offsets[:-1], counts)
    size = trie.level_sizes[level]
    kept = tokens < size
    if filter is not None:
        kept &= filter.allows(level + 1, edges)
    valid = np.zeros((len(nodes), size), dtype=np.bool_)
    valid[rows[kept], tokens[kept]] = True
    return valid
