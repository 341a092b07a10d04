"""Attributes of items beside a trie: what filter expressions ask about."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from onesearch_fast import _C
from onesearch_fast.errors import invalid
from onesearch_fast.files import readable_file, writable_file
from onesearch_fast.index._arrays import index_vector
from onesearch_fast.index.column_rows import column_rows
from onesearch_fast.index.expressions import Condition, expression_of
from onesearch_fast.index.predicates import Kind, compile_predicate

if TYPE_CHECKING:
    from onesearch_fast.index.sid_trie import SidTrie

_SAVED = "name the file that ItemColumns.save wrote"


class ItemColumns:
    """Columns over the items of one trie, one value an item or none.

    A column is `bool`, `integer` (int64), `real` (float64), `category` (one string) or `categories`
    (a list of strings). Values are kept in the narrowest type that holds all of them exactly, in
    the order of the items in the trie, strings as codes of a dictionary. Immutable, safe to share
    between threads.
    """

    __slots__ = ("_handle",)

    _handle: _C.ItemColumns

    def __init__(self, *_: NoReturn, **__: NoReturn) -> None:
        raise TypeError("ItemColumns: expected ItemColumns.build(...) or .load(...)")

    @classmethod
    def _own(cls, handle: _C.ItemColumns) -> ItemColumns:
        columns = object.__new__(cls)
        columns._handle = handle
        return columns

    @classmethod
    def build(
        cls,
        trie: SidTrie,
        columns: Mapping[str, Any],
        kinds: Mapping[str, Kind] | None = None,
    ) -> ItemColumns:
        """Columns for the items of `trie`.

        Args:
            columns: name -> values [num_items] in the row order of `SidTrie.build`: numpy, torch
                (CPU, bfloat16 too), arrow, or a list. None, NaN, masked and null values are
                missing. Lists, sets and arrow lists of strings make a column of categories.
            kinds: what columns are to be, where their values do not tell: all of them missing, or
                integers for a column of reals.

        Raises:
            ValueError: a wrong number of values.
            TypeError: values of several kinds, or of none that a column can be.

        Cost: two reads of the values in the order of the items.
        """
        where = "ItemColumns.build"
        _check_trie(where, trie)
        rows = column_rows(where, columns, trie.num_items, kinds)
        return cls._own(_C.ItemColumns.build(trie.num_items, rows, trie._handle))

    @classmethod
    def load(cls, path: str | os.PathLike[str], verify: bool = True) -> ItemColumns:
        """Maps a file that `save` wrote.

        With `verify` every byte is read and every rule of the format is checked. Without it only
        the header and the names are (milliseconds, whatever the size), and filters stay memory-safe
        on any bytes. Replace a file by `save`, which renames; never alter one that is loaded.

        Raises:
            FormatError: a truncated or altered file, or one of another version.
            OSError: a file that cannot be read.
        """
        name = readable_file("ItemColumns.load", path, _SAVED)
        return cls._own(_C.ItemColumns.load(name, verify))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the columns; the file is whole or untouched. A link is followed.

        Equal columns give equal bytes. docs/item_columns_format.md describes them.
        """
        self._handle.save(writable_file("ItemColumns.save", path))

    def verify(self) -> None:
        """Checks every checksum and rule of the format; raises FormatError unless all hold."""
        self._handle.verify()

    @property
    def num_items(self) -> int:
        """Items of the trie."""
        return self._handle.num_items

    @property
    def kinds(self) -> dict[str, Kind]:
        """Name -> kind, in the order of `build`."""
        return self._handle.kinds

    @property
    def nbytes(self) -> int:
        """Bytes of the columns, in memory and as a file."""
        return self._handle.nbytes

    def belongs_to(self, trie: SidTrie) -> bool:
        """Whether these are columns of `trie`, or of one built of the same items."""
        _check_trie("ItemColumns.belongs_to", trie)
        return self._handle.fingerprint == trie._handle.fingerprint

    def values(self, name: str, positions: Any = None) -> list[Any]:
        """The values of the items at `positions` [n], None where one is missing.

        Positions number the items as `trie.items` lists those of all ranks; default: all items.
        """
        wanted = np.arange(self.num_items) if positions is None else positions
        return self._handle.values(name, index_vector("ItemColumns.values", "positions", wanted))

    def categories(self, name: str) -> list[str]:
        """The strings of a column of categories, ascending; nothing for another column."""
        return self._handle.categories(name)

    def _evaluate(self, where: str, condition: Condition) -> _C.ItemSet:
        predicate = compile_predicate(where, expression_of(condition), self.kinds)
        return self._handle.evaluate(predicate)

    def __repr__(self) -> str:
        kinds = ", ".join(f"{name}: {kind}" for name, kind in self.kinds.items())
        return f"ItemColumns({self.num_items} items, {kinds})"


def _check_trie(where: str, trie: Any) -> None:
    if not isinstance(getattr(trie, "_handle", None), _C.SidTrie):
        raise invalid(where, "trie", "a SidTrie", type(trie), kind=TypeError)
