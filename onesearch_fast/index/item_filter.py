"""Which items a request may see."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from onesearch_fast import _C
from onesearch_fast.index._arrays import index_vector, item_set

if TYPE_CHECKING:
    from onesearch_fast.index.catalogue import Catalogue


class ItemFilter:
    """A set of allowed items of one trie; make one with `SidTrie.filter`.

    Filters are over items: a rank (SID) is allowed when any of its items is, a node when any rank
    below it is. The latter is exact and O(1) per node, so a search never runs into a dead end.
    Immutable, safe to share.
    """

    __slots__ = ("_handle", "_trie")

    _handle: _C.ItemFilter
    _trie: Catalogue

    def __init__(self) -> None:
        raise TypeError("ItemFilter: expected trie.filter(allow=..., deny=...), got ItemFilter()")

    @classmethod
    def _make(cls, trie: Catalogue, allow: Any, deny: Any) -> ItemFilter:
        where = "SidTrie.filter"
        chosen = object.__new__(cls)
        chosen._trie = trie
        chosen._handle = _C.ItemFilter.make(
            trie._handle,
            None if allow is None else item_set(where, "allow", allow, trie.num_items),
            None if deny is None else item_set(where, "deny", deny, trie.num_items),
        )
        return chosen

    @property
    def trie(self) -> Catalogue:
        """The trie this filter belongs to."""
        return self._trie

    @property
    def num_allowed_items(self) -> int:
        """Items let through."""
        return self._handle.num_allowed_items

    @property
    def num_allowed_sids(self) -> int:
        """SIDs with at least one item let through."""
        return self._handle.num_allowed_sids

    @property
    def num_unknown_ids(self) -> int:
        """Ids given that the trie does not hold; they match nothing."""
        return self._handle.num_unknown_ids

    @property
    def rank_bits(self) -> npt.NDArray[np.uint64]:
        """uint64 [ceil(num_sids / 64)], read-only: bit r % 64 of word r // 64 allows rank r."""
        return self._handle.rank_bits

    def rank_allowed(self) -> npt.NDArray[np.bool_]:
        """Whether each rank is allowed: bool [num_sids]."""
        octets = self.rank_bits.astype("<u8", copy=False).view(np.uint8)
        bits = np.unpackbits(octets, count=self._trie.num_sids, bitorder="little")
        return bits.astype(np.bool_)

    def item_allowed(self) -> npt.NDArray[np.bool_]:
        """bool [num_items]: each item, in the order in which `trie.items` lists all ranks."""
        return self._handle.item_allowed()

    def contains(self, item_ids: Any) -> npt.NDArray[np.bool_]:
        """bool [n]: whether each of `item_ids` [n] is an item that is let through."""
        return self._handle.contains(index_vector("ItemFilter.contains", "item_ids", item_ids))

    def allows(self, level: int, nodes: Any) -> npt.NDArray[np.bool_]:
        """bool [n]: whether an allowed item lies below each of `nodes` [n] of `level`.

        `level` goes from 0 to num_levels; False for a node that does not exist.
        """
        return self._handle.allows(level, index_vector("ItemFilter.allows", "nodes", nodes))

    def __repr__(self) -> str:
        return f"ItemFilter({self.num_allowed_items} of {self._trie.num_items} items)"
