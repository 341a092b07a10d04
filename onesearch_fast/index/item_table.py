"""The table of items behind a trie: what a row number stands for."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from onesearch_fast.errors import FormatError, invalid
from onesearch_fast.files import atomic_path

_SCHEMA = pa.schema(
    [
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("title", pa.string(), nullable=False),
        pa.field("brand", pa.string()),
        pa.field("category", pa.list_(pa.string()), nullable=False),
        pa.field("price", pa.float64()),
        pa.field("in_stock", pa.bool_(), nullable=False),
    ]
)
_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}")


class ItemLike(Protocol):
    """What a table keeps of an item; `data.records.Item` is one."""

    @property
    def item_id(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def brand(self) -> str | None: ...
    @property
    def category(self) -> tuple[str, ...]: ...
    @property
    def price(self) -> float | None: ...
    @property
    def in_stock(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class ItemRow:
    """One item as it is shown with a search result."""

    item_id: str
    title: str
    brand: str | None
    category: tuple[str, ...]
    price: float | None
    in_stock: bool


class ItemTable:
    """Rows of a catalogue, in the order of `SidTrie.build`: item id <-> row, and what to show.

    Immutable, safe to share between threads. Columns stay in Arrow memory; a row becomes Python
    objects when asked for.
    """

    def __init__(self, table: pa.Table) -> None:
        self._table = table.combine_chunks()

    @classmethod
    def build(cls, items: Iterable[ItemLike]) -> ItemTable:
        """The table of `items`, in their order; ids must be distinct and at least one."""
        rows = list(items)
        if not rows:
            raise invalid("ItemTable.build", "items", "at least one item", "none")
        columns = {name: [getattr(row, name) for row in rows] for name in _SCHEMA.names}
        columns["category"] = [list(path) for path in columns["category"]]
        table = cls(pa.table(columns, schema=_SCHEMA))
        table._refuse_duplicates("ItemTable.build", ValueError)
        return table

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> ItemTable:
        """Reads what `save` wrote; raises FormatError when it is anything else."""
        try:
            table = pq.read_table(Path(path))
        except (pa.ArrowException, OSError) as error:
            raise FormatError(f"{path}: not an item table: {error}") from error
        if table.schema.names != _SCHEMA.names or not table.schema.equals(_SCHEMA):
            raise FormatError(f"{path}: not an item table: columns are {table.schema.names}")
        loaded = cls(table)
        loaded._refuse_duplicates(str(path), FormatError)
        return loaded

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes one parquet file, atomically."""
        with atomic_path(path) as temporary:
            pq.write_table(self._table, temporary)

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def __getitem__(self, row: int) -> ItemRow:
        if not 0 <= row < len(self):
            raise IndexError(f"ItemTable: row {row} of {len(self)}")
        values = self._table.slice(row, 1).to_pylist()[0]
        values["category"] = tuple(values["category"])
        return ItemRow(**values)

    @cached_property
    def item_ids(self) -> list[str]:
        """Item id of each row."""
        ids: list[str] = self._table["item_id"].to_pylist()
        return ids

    @cached_property
    def in_stock(self) -> npt.NDArray[np.bool_]:
        """Whether each row can be bought: bool [num_items], read-only."""
        stock: npt.NDArray[np.bool_] = self._table["in_stock"].to_numpy()
        stock.flags.writeable = False
        return stock

    @property
    def attributes(self) -> dict[str, pa.ChunkedArray]:
        """What filters may ask about: brand, category, price and in_stock, for `ItemColumns`."""
        return {name: self._table[name] for name in ("brand", "category", "price", "in_stock")}

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {item_id: row for row, item_id in enumerate(self.item_ids)}

    def rows(self, item_ids: Sequence[str]) -> npt.NDArray[np.int64]:
        """Row of each item id, -1 where the table has none: int64 [n].

        Rows are the item ids of the trie beside this table: `trie.filter(deny=table.rows(ids))`.
        """
        return np.array([self._rows.get(one, -1) for one in item_ids], dtype=np.int64)

    def numbers(self, item_ids: Sequence[str]) -> npt.NDArray[np.int64]:
        """`rows`; for an id that spells a number past them, as of a live store's items, the number.

        int64 [n], -1 for what is neither.
        """
        pairs = zip(self.rows(item_ids).tolist(), item_ids, strict=True)
        numbers = [row if row >= 0 else self._number_past_end(one) for row, one in pairs]
        return np.array(numbers, dtype=np.int64)

    def _number_past_end(self, item_id: str) -> int:
        number = int(item_id) if _NUMBER.fullmatch(item_id) else -1
        return number if len(self) <= number <= np.iinfo(np.int64).max else -1

    def _refuse_duplicates(self, where: str, kind: type[ValueError]) -> None:
        if len(self._rows) < len(self):
            seen: set[str] = set()
            doubled = next(one for one in self.item_ids if one in seen or seen.add(one))  # type: ignore[func-returns-value]
            raise invalid(where, "item_id", "distinct ids", doubled, "keep one row per id", kind)
