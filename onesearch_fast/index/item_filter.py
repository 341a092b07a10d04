"""Which items a request may see."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import numpy.typing as npt

from onesearch_fast import _C
from onesearch_fast.index._arrays import index_vector
from onesearch_fast.index.expressions import Condition, Expression, condition_of
from onesearch_fast.index.item_columns import ItemColumns

if TYPE_CHECKING:
    from onesearch_fast.index.catalogue import Catalogue

# (columns, start of an error's sentence, condition) -> the items that meet it
Evaluate = Callable[[ItemColumns, str, Expression], _C.ItemSet]

# What a request searches: a catalogue, and which of its items it may see; None: all.
Searched = tuple["Catalogue", "ItemFilter | None"]


class ItemFilter:
    """A set of allowed items of one trie or snapshot; make one with its `filter`.

    A node is allowed when any item below it is, which is exact and takes a few look-ups, so a
    search never runs into a dead end. Filters of one catalogue combine: `a & b`, `a | b`, `a - b`,
    `~a`. Immutable, safe to share between requests and threads.
    """

    __slots__ = ("_catalogue", "_handle")

    _handle: _C.ItemFilter
    _catalogue: Catalogue

    def __init__(self, *_: NoReturn, **__: NoReturn) -> None:
        raise TypeError("ItemFilter: expected trie.filter(allow=..., deny=...), got ItemFilter()")

    @classmethod
    def _make(
        cls,
        catalogue: Catalogue,
        allow: Any = None,
        deny: Any = None,
        where: Condition | str | None = None,
        columns: ItemColumns | None = None,
        evaluate: Evaluate | None = None,
    ) -> ItemFilter:
        sets: list[_C.ItemSet | None] = [None, None]
        if where is not None:
            expression = condition_of(where)
            name = f"{type(catalogue).__name__}.filter"
            base, *overlay = catalogue._columns_of_filter(columns)
            sets[0] = (evaluate or ItemColumns._evaluate)(base, name, expression)
            for part in overlay:
                sets[1] = part._evaluate(name, expression)
        handle = _C.ItemFilter.make(
            catalogue._handle,
            None if allow is None else catalogue._items_of_filter("allow", allow),
            None if deny is None else catalogue._items_of_filter("deny", deny),
            *sets,
        )
        return cls._own(catalogue, handle)

    @classmethod
    def _own(cls, catalogue: Catalogue, handle: _C.ItemFilter) -> ItemFilter:
        chosen = object.__new__(cls)
        chosen._catalogue = catalogue
        chosen._handle = handle
        return chosen

    @property
    def trie(self) -> Catalogue:
        """The trie or snapshot this filter belongs to."""
        return self._catalogue

    def __and__(self, other: ItemFilter) -> ItemFilter:
        return self._combined(other, _C.ItemFilter.intersection)

    def __or__(self, other: ItemFilter) -> ItemFilter:
        return self._combined(other, _C.ItemFilter.union)

    def __sub__(self, other: ItemFilter) -> ItemFilter:
        return self._combined(other, _C.ItemFilter.difference)

    def __invert__(self) -> ItemFilter:
        return self._own(self._catalogue, self._handle.complement())

    def _combined(
        self, other: ItemFilter, combine: Callable[[_C.ItemFilter, _C.ItemFilter], _C.ItemFilter]
    ) -> ItemFilter:
        if not isinstance(other, ItemFilter):
            return NotImplemented
        return self._own(self._catalogue, combine(self._handle, other._handle))

    @property
    def num_allowed_items(self) -> int:
        """Items let through."""
        return self._handle.num_allowed_items

    @property
    def num_allowed_sids(self) -> int:
        """SIDs with at least one item let through."""
        return self._handle.num_allowed_sids

    @property
    def nbytes(self) -> int:
        """Bytes of its bits and counts, what it shares with other filters included."""
        return self._handle.nbytes

    @property
    def num_unknown_ids(self) -> int:
        """Ids given that the trie does not hold; they match nothing."""
        return self._handle.num_unknown_ids

    def rank_allowed(self) -> npt.NDArray[np.bool_]:
        """bool [num_nodes(num_levels)]: whether each rank has an item that is let through."""
        level = self._catalogue.num_levels
        return self.allows(level, np.arange(self._catalogue.num_nodes(level)))

    def item_allowed(self) -> npt.NDArray[np.bool_]:
        """bool [num_items]: each item, in the order in which `trie.items` lists all ranks.

        Of a snapshot the items of its generation's trie, then those inserted since, dead ones too:
        False.
        """
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
        return f"ItemFilter({self.num_allowed_items} of {self._catalogue.num_items} items)"
