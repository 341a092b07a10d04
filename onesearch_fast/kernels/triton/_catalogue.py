"""Catalogues and filters as the Triton kernels read them: plain arrays, a level at a time.

The CUDA backend reads the bytes of the trie's file; these arrays trade memory for kernels without
bit tricks. They are made when first asked for, and live as long as the catalogue or the filter.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
import torch

if TYPE_CHECKING:
    from onesearch_fast.index.item_filter import ItemFilter
    from onesearch_fast.index.live_store import Snapshot
    from onesearch_fast.index.sid_trie import SidTrie

T = TypeVar("T")


@dataclass(frozen=True)
class DeviceLevel:
    """The edges out of a level that lead to a live item, by parent and then by token.

    Attributes:
        first_edge: [num_nodes(level) + 1] int32, where the edges of each node begin.
        token: [edge] int32.
        child: [edge] int32, nodes of level + 1.
        fan_out: the most edges of one node, at least 1.
    """

    first_edge: torch.Tensor
    token: torch.Tensor
    child: torch.Tensor
    fan_out: int


_levels: WeakKeyDictionary[Any, dict[Any, DeviceLevel]] = WeakKeyDictionary()
_allowed: WeakKeyDictionary[Any, dict[Any, torch.Tensor]] = WeakKeyDictionary()


def level_on(catalogue: SidTrie | Snapshot, level: int, device: torch.device) -> DeviceLevel:
    """The edges out of `level`, on the device."""
    return _kept(_levels, catalogue, (level, device), lambda: _upload(catalogue, level, device))


def allowed_on(item_filter: ItemFilter, level: int, device: torch.device) -> torch.Tensor:
    """uint8 [num_nodes(level)], on the device: whether an allowed item lies below each node."""

    def upload() -> torch.Tensor:
        nodes = np.arange(item_filter.trie.num_nodes(level))
        return torch.from_numpy(item_filter.allows(level, nodes)).view(torch.uint8).to(device)

    return _kept(_allowed, item_filter, (level, device), upload)


def _kept(
    kept: WeakKeyDictionary[Any, dict[Any, T]], owner: Any, key: Any, make: Callable[[], T]
) -> T:
    of_owner = kept.setdefault(owner._handle, {})
    if key not in of_owner:
        of_owner[key] = make()
    return of_owner[key]


def _upload(catalogue: SidTrie | Snapshot, level: int, device: torch.device) -> DeviceLevel:
    num_nodes = catalogue.num_nodes(level)
    tokens, offsets = catalogue.children(level, np.arange(num_nodes))
    parent = np.repeat(np.arange(num_nodes), np.diff(offsets))
    child = catalogue.child(level, parent, tokens)
    # An unverified trie may hold tokens past the level's size, which lead nowhere.
    kept = (child >= 0) & (tokens < catalogue.level_sizes[level])
    kept &= catalogue.filter().allows(level + 1, child)
    counts = np.bincount(parent[kept], minlength=num_nodes)
    first_edge = np.concatenate(([0], np.cumsum(counts)))

    def as_int32(array: Any) -> torch.Tensor:
        return torch.from_numpy(array.astype(np.int32)).to(device)

    edges = (as_int32(first_edge), as_int32(tokens[kept]), as_int32(child[kept]))
    return DeviceLevel(*edges, fan_out=int(counts.max(initial=1)))
