"""The index of a catalogue in other hands: what the benchmarks of the trie measure against."""

from __future__ import annotations

from collections.abc import Sequence

import marisa_trie
import numpy as np


def even_codes(num_items: int, level_sizes: Sequence[int]) -> np.ndarray:
    """Codes [num_items, num_levels] uint16, every SID as likely as another, in no order.

    Skewed codes (`random_codes`) would take ten times the memory to draw.
    """
    rng = np.random.default_rng(0)
    codes = np.empty((num_items, len(level_sizes)), dtype=np.uint16)
    for level, size in enumerate(level_sizes):
        codes[:, level] = rng.integers(size, size=num_items, dtype=np.uint16)
    return codes


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


def marisa_keys(codes: np.ndarray) -> list[bytes]:
    """Each SID as bytes that sort as its codes do."""
    sids = codes.astype(">u2").tobytes()
    size = 2 * codes.shape[1]
    return [sids[at : at + size] for at in range(0, len(sids), size)]


def marisa_trie_of(keys: list[bytes]) -> marisa_trie.BinaryTrie:
    """marisa-trie, a compressed trie of byte strings: it knows members, not nodes or items."""
    return marisa_trie.BinaryTrie(keys)
