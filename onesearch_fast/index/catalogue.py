"""What a search can run over, and the questions it answers whether it is live or not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from onesearch_fast import _C
from onesearch_fast.errors import invalid
from onesearch_fast.index._arrays import code_rows, index_vector

if TYPE_CHECKING:
    from onesearch_fast.index.item_columns import ItemColumns


class Catalogue:
    """A `SidTrie`, or a `Snapshot` of a `LiveStore`.

    Nodes are numbered per level: the root is node 0 of level 0, and a node of the last level is the
    *rank* of its SID. Immutable, safe to share between threads.
    """

    __slots__ = ("_handle",)

    _handle: _C.Catalogue

    @property
    def num_items(self) -> int:
        """Items of the catalogue."""
        return self._handle.num_items

    @property
    def num_sids(self) -> int:
        """Distinct SIDs."""
        return self._handle.num_sids

    @property
    def num_levels(self) -> int:
        """Codes per SID."""
        return self._handle.num_levels

    @property
    def level_sizes(self) -> tuple[int, ...]:
        """Code count of each level."""
        return self._handle.level_sizes

    @property
    def nbytes(self) -> int:
        """Bytes of the index in memory."""
        return self._handle.nbytes

    def num_nodes(self, level: int) -> int:
        """Node numbers of `level`, 0 to num_levels, are [0, num_nodes(level)); 1 at level 0."""
        return self._handle.num_nodes(level)

    def contains(self, codes: Any) -> npt.NDArray[np.bool_]:
        """Whether each row of `codes` [n, num_levels] is the SID of an item: bool [n]."""
        return self._ranks("contains", codes) >= 0

    def rank(self, codes: Any) -> npt.NDArray[np.int64]:
        """int64 [n]: the rank of each row of `codes` [n, num_levels], -1 for a SID that is absent.

        A code outside its level is absent, not an error. Cost: one binary search per row and level.
        """
        return self._ranks("rank", codes)

    def _ranks(self, method: str, codes: Any) -> npt.NDArray[np.int64]:
        return self._handle.rank(code_rows(self._where(method), codes, self.num_levels))

    def codes(self, rank: Any) -> npt.NDArray[np.int32]:
        """The SID of each rank [n]: int32 [n, num_levels]; rank -1 (no SID) gives a row of -1.

        Raises ValueError for a rank outside [-1, num_nodes(num_levels)).
        """
        return self._handle.codes(index_vector(self._where("codes"), "rank", rank))

    def items(self, rank: Any) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The items of each rank [n], best prior first.

        Returns:
            (item_ids, offsets): the items of rank[i] are item_ids[offsets[i]:offsets[i + 1]],
            offsets int64 [n + 1]. Rank -1 (no SID) has no items.

        Raises ValueError for a rank outside [-1, num_nodes(num_levels)).
        """
        return self._handle.items(index_vector(self._where("items"), "rank", rank))

    def item_codes(self, item_ids: Any) -> npt.NDArray[np.int32]:
        """The SID of each item [n]: int32 [n, num_levels]; a row of -1 for an id it does not hold.

        Cost: one binary search per item where ids are not row numbers, then one step per level.
        """
        ids = index_vector(self._where("item_codes"), "item_ids", item_ids)
        return _C.item_codes(self._handle, ids)

    def children(
        self, level: int, nodes: Any
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
        """The tokens that lead on from each of `nodes` [n] of `level`, ascending.

        Returns:
            (tokens, offsets): those of nodes[i] are tokens[offsets[i]:offsets[i + 1]], offsets
            int64 [n + 1]. `child` gives the nodes they lead to. A node that does not exist has
            none.
        """
        return self._handle.children(level, index_vector(self._where("children"), "nodes", nodes))

    def child(self, level: int, nodes: Any, tokens: Any) -> npt.NDArray[np.int64]:
        """int64 [n]: the child, a node of level + 1, of nodes[i] by tokens[i]; -1 for none.

        Cost: one binary search per row.
        """
        where = self._where("child")
        parents = index_vector(where, "nodes", nodes)
        wanted = index_vector(where, "tokens", tokens)
        if wanted.shape != parents.shape:
            raise invalid(where, "tokens", f"shape [{len(parents)}]", list(wanted.shape))
        return self._handle.child(level, parents, wanted)

    def _items_of_filter(
        self, argument: str, items: Any
    ) -> npt.NDArray[np.int64] | npt.NDArray[np.bool_]:
        """`allow` or `deny` of a filter: the ids of items."""
        return index_vector(self._where("filter"), argument, items)

    def _columns_of_filter(self, columns: ItemColumns | None) -> tuple[ItemColumns, ...]:
        """What `where` of a filter asks about: columns of the base, and of the overlay."""
        raise invalid(self._where("filter"), "where", "a catalogue with columns", "none")

    def _where(self, method: str) -> str:
        return f"{type(self).__name__}.{method}"

    def __repr__(self) -> str:
        sizes = ", ".join(map(str, self.level_sizes))
        counts = f"{self.num_items} items, {self.num_sids} SIDs"
        return f"{type(self).__name__}({counts}, level_sizes=({sizes}))"
