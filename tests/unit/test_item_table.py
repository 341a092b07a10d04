"""The item table: rows, ids, files."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from onesearch_fast.data.records import Item
from onesearch_fast.errors import FormatError
from onesearch_fast.index.item_table import ItemRow, ItemTable

ITEMS = (
    Item("a-1", "Oak table", "Holm", ("furniture", "tables"), {"colour": ("brown",)}, 89.5, True),
    Item("7", "茶壶", None, (), {}, None, False),
    Item("z", "", "", ("furniture",), price=0.0),
)


def test_rows_hold_what_is_shown() -> None:
    table = ItemTable.build(ITEMS)
    assert len(table) == 3
    assert table[0] == ItemRow("a-1", "Oak table", "Holm", ("furniture", "tables"), 89.5, True)
    assert table[1] == ItemRow("7", "茶壶", None, (), None, False)
    assert table.item_ids == ["a-1", "7", "z"]
    assert table.in_stock.tolist() == [True, False, True]
    with pytest.raises(IndexError, match="row 3 of 3"):
        table[3]
    with pytest.raises(IndexError):
        table[-1]


def test_rows_are_found_by_id() -> None:
    rows = ItemTable.build(ITEMS).rows(["z", "nowhere", "a-1", "z"])
    assert rows.tolist() == [2, -1, 0, 2]
    assert ItemTable.build(ITEMS).rows([]).tolist() == []


def test_ids_past_the_rows_are_numbers() -> None:
    largest = 2**63 - 1
    names = [
        "7",
        "z",
        "3",
        str(largest),
        str(largest + 1),
        "2",
        "-3",
        "03",
        "+3",
        " 3",
        "\u0663",
        "",
    ]
    numbers = ItemTable.build(ITEMS).numbers(names)
    assert numbers.tolist() == [1, 2, 3, largest, *[-1] * 8]


def test_a_saved_table_comes_back(tmp_path: Path) -> None:
    table = ItemTable.build(ITEMS)
    table.save(tmp_path / "items.parquet")
    loaded = ItemTable.load(tmp_path / "items.parquet")
    assert [loaded[row] for row in range(3)] == [table[row] for row in range(3)]
    assert [file.name for file in tmp_path.iterdir()] == ["items.parquet"]


def test_bad_catalogues_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one item"):
        ItemTable.build([])
    with pytest.raises(ValueError, match="distinct ids, got 7"):
        ItemTable.build([*ITEMS, Item("7", "again")])


def test_bad_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "items.parquet"
    with pytest.raises(FormatError, match=r"items\.parquet"):
        ItemTable.load(path)
    path.write_bytes(b"PAR1 not really")
    with pytest.raises(FormatError, match="not an item table"):
        ItemTable.load(path)
    pq.write_table(pa.table({"item_id": ["a"], "name": ["b"]}), path)
    with pytest.raises(FormatError, match="columns"):
        ItemTable.load(path)
    ItemTable.build(ITEMS[:1]).save(path)
    once = pq.read_table(path)
    pq.write_table(pa.concat_tables([once, once]), path)
    with pytest.raises(FormatError, match="distinct ids, got a-1"):
        ItemTable.load(path)


def test_a_table_cannot_be_altered() -> None:
    with pytest.raises(ValueError, match="read-only"):
        ItemTable.build(ITEMS).in_stock[0] = False
