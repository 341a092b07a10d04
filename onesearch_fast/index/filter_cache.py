"""Filters that many requests ask for, made once."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

from onesearch_fast import _C
from onesearch_fast.errors import invalid
from onesearch_fast.index.catalogue import Catalogue
from onesearch_fast.index.expressions import Condition, Expression, condition_of
from onesearch_fast.index.item_columns import ItemColumns
from onesearch_fast.index.item_filter import ItemFilter

# What is kept has a handle or is one; both know their bytes.
Kept = _C.ItemFilter | _C.ItemSet
T = TypeVar("T", _C.ItemFilter, _C.ItemSet)


@dataclass(frozen=True, slots=True)
class FilterCacheStatistics:
    """What a cache has seen since it was made, and what it holds."""

    hits: int
    misses: int
    evictions: int
    num_entries: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class _Entry:
    kept: Kept
    nbytes: int
    # What the key names by its id: as long as the entry stands, no other object has that id.
    owner: object


class FilterCache:
    """The filters used last, up to a number of bytes.

    Two things are kept: what an expression lets through of some columns, which serves all filters
    that begin with it, and filters with `allow` or `deny` whole. The columns a live store was built
    from stay the same until its next compaction, so after an update only what was inserted since is
    looked at.

    Safe to share between threads; two that miss the same filter at once both make it.
    """

    def __init__(self, max_bytes: int = 256 << 20) -> None:
        if not isinstance(max_bytes, int) or max_bytes < 1:
            raise invalid("FilterCache", "max_bytes", "an integer of at least 1", max_bytes)
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()
        self._nbytes = 0
        self._hits = 0
        self._misses = 0
        self._evictions = 0

    def filter(
        self,
        catalogue: Catalogue,
        allow: Any = None,
        deny: Any = None,
        where: Condition | str | None = None,
        columns: ItemColumns | None = None,
    ) -> ItemFilter:
        """What `catalogue.filter` gives for the same arguments, made now or before."""
        if not isinstance(catalogue, Catalogue):
            expected = "a SidTrie or a Snapshot"
            got = type(catalogue)
            raise invalid("FilterCache.filter", "catalogue", expected, got, kind=TypeError)
        allowed = None if allow is None else catalogue._items_of_filter("allow", allow)
        denied = None if deny is None else catalogue._items_of_filter("deny", deny)
        expression = None if where is None else condition_of(where)

        def make() -> _C.ItemFilter:
            make_whole = ItemFilter._make
            return make_whole(
                catalogue, allowed, denied, expression, columns, self._evaluate
            )._handle

        if allowed is None and denied is None:
            return ItemFilter._own(catalogue, make())
        owner = (catalogue._handle, columns)
        key = (*map(id, owner), str(expression), _digest(allowed), _digest(denied))
        return ItemFilter._own(catalogue, self._get(key, owner, make))

    @property
    def statistics(self) -> FilterCacheStatistics:
        """Look-ups that found what they asked for or not, evictions, and what is held."""
        with self._lock:
            return FilterCacheStatistics(
                self._hits, self._misses, self._evictions, len(self._entries), self._nbytes
            )

    def clear(self) -> None:
        """Forgets every filter; the counts go on."""
        with self._lock:
            self._entries.clear()
            self._nbytes = 0

    def _evaluate(self, columns: ItemColumns, where: str, expression: Expression) -> _C.ItemSet:
        owner = columns._handle
        # The text tells True from 1, which are equal.
        key = (id(owner), str(expression))
        return self._get(key, owner, lambda: columns._evaluate(where, expression))

    def _get(self, key: Hashable, owner: object, make: Callable[[], T]) -> T:
        with self._lock:
            entry = self._entries.get(key)
            if entry is not None:
                self._entries.move_to_end(key)
                self._hits += 1
                return cast("T", entry.kept)
            self._misses += 1
        kept = make()  # outside the lock: it may take long
        with self._lock:
            self._put(key, _Entry(kept, kept.nbytes, owner))
        return kept

    def _put(self, key: Hashable, entry: _Entry) -> None:
        if entry.nbytes > self._max_bytes:
            return
        replaced = self._entries.pop(key, None)
        self._nbytes += entry.nbytes - (0 if replaced is None else replaced.nbytes)
        self._entries[key] = entry
        while self._nbytes > self._max_bytes:
            _, oldest = self._entries.popitem(last=False)
            self._nbytes -= oldest.nbytes
            self._evictions += 1

    def __repr__(self) -> str:
        return f"FilterCache({self.statistics})"


def _digest(items: npt.NDArray[np.int64] | npt.NDArray[np.bool_] | None) -> bytes | None:
    """Names a set of items: ids in any order, or a mask."""
    if items is None:
        return None
    canonical = items if items.dtype == np.bool_ else np.sort(items)
    return hashlib.blake2b(canonical.tobytes(), person=items.dtype.str.encode()).digest()
