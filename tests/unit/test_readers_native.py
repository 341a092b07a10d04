from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onesearch_fast.data.readers import Problem, read_dataset
from onesearch_fast.data.readers.native import read_folder, scan_folder, write_folder
from onesearch_fast.data.records import Dataset, Interaction, Item, JudgedQuery, User
from onesearch_fast.errors import DataError

MUG = {"item_id": "a", "title": "红色 mug"}
CLICK = {"user_id": "u", "time": 7, "item_id": "a", "event": "click", "query": "mug"}

FULL = Dataset(
    name="shop",
    items=(
        Item("a", "红色 mug", "Bo", ("Home", "Cups"), {"colour": ("red", "深红")}, 3.5, False),
        Item("b", "plain"),
    ),
    users=(User("u", "woman, 25-34"), User("v")),
    interactions=(
        Interaction("u", 5, "a", "show"),
        Interaction("u", 6, "a", "click", "mug", "s1", "head"),
        Interaction("w", 6, "b", "order"),
    ),
    judged_queries=(JudgedQuery("mug", "a", 2.0),),
)


def write_tables(folder, **tables):
    """JSONL tables from dicts; a str is a raw line, bytes are the whole file."""
    for name, rows in {"items": [MUG], "interactions": [CLICK], **tables}.items():
        path = folder / f"{name}.jsonl"
        if isinstance(rows, bytes):
            path.write_bytes(rows)
            continue
        lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
        path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return folder


def test_what_is_written_is_read_back(tmp_path):
    target = tmp_path / "shop"
    write_folder(FULL, target)
    assert sorted(path.name for path in target.iterdir()) == [
        "interactions.jsonl",
        "items.jsonl",
        "queries.jsonl",
        "users.jsonl",
    ]
    assert read_dataset(target) == FULL


TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=8)
ITEMS = st.builds(
    Item,
    item_id=TEXT.filter(bool),
    title=TEXT.filter(str.strip),
    brand=st.none() | TEXT,
    category=st.lists(TEXT, max_size=3).map(tuple),
    attributes=st.dictionaries(TEXT, st.lists(TEXT, max_size=2).map(tuple), max_size=2),
    price=st.none() | st.floats(0, 1e9),
    in_stock=st.booleans(),
)


@settings(max_examples=30)
@given(st.lists(ITEMS, min_size=1, max_size=4, unique_by=lambda item: item.item_id))
def test_any_item_survives_the_round_trip(tmp_path_factory, items):
    target = tmp_path_factory.mktemp("round") / "shop"
    write_folder(Dataset("shop", tuple(items)), target)
    assert read_folder(target).items == tuple(items)


def test_writing_replaces_only_tables(tmp_path):
    target = tmp_path / "shop"
    write_folder(FULL, target)
    write_folder(Dataset("shop", FULL.items), target)
    assert read_dataset(target).users == ()
    (target / "notes.txt").touch()
    with pytest.raises(ValueError, match=r"notes\.txt"):
        write_folder(FULL, target)
    assert (target / "notes.txt").exists()


def test_parquet_gives_the_same_records(tmp_path):
    items = pa.table(
        {
            "item_id": pa.array([1, 2], pa.int64()),
            "title": ["红色 mug", "plain"],
            "category": pa.array([["Home", "Cups"], None], pa.list_(pa.string())),
            "attributes": pa.array(
                [[("colour", ["red"])], None], pa.map_(pa.string(), pa.list_(pa.string()))
            ),
            "price": pa.array([3.5, None]),
        }
    )
    log = pa.table({"user_id": [9], "time": [7], "item_id": [2], "event": ["click"]})
    pq.write_table(items, tmp_path / "items.parquet")
    pq.write_table(log, tmp_path / "interactions.parquet")
    data = read_folder(tmp_path)
    assert data.items == (
        Item("1", "红色 mug", None, ("Home", "Cups"), {"colour": ("red",)}, 3.5),
        Item("2", "plain"),
    )
    assert data.interactions == (Interaction("9", 7, "2", "click"),)


def test_a_parquet_struct_of_attributes_skips_its_empty_members(tmp_path):
    table = pa.table(
        {
            "item_id": ["a"],
            "title": ["mug"],
            "attributes": pa.array([{"colour": ["red"], "size": None}]),
        }
    )
    pq.write_table(table, tmp_path / "items.parquet")
    write_tables(tmp_path).joinpath("items.jsonl").unlink()
    assert read_folder(tmp_path).items[0].attributes == {"colour": ("red",)}


def test_a_broken_parquet_file_is_named(tmp_path):
    write_tables(tmp_path).joinpath("items.jsonl").unlink()
    path = tmp_path / "items.parquet"
    path.write_bytes(b"PAR1 not really")
    with pytest.raises(DataError, match=r"items\.parquet: file: expected a sound parquet file"):
        read_folder(tmp_path)
    pq.write_table(pa.Table.from_pylist([MUG] * 100), path)
    sound = bytearray(path.read_bytes())
    sound[4:24] = b"\xff" * 20  # the head of the first page: pyarrow reports it as an OSError
    path.write_bytes(bytes(sound))
    with pytest.raises(DataError, match=r"items\.parquet: file: expected a sound parquet file"):
        read_folder(tmp_path)


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"item_id": None}, "item_id: expected a value"),
        ({"item_id": True}, "item_id: expected a string or an integer"),
        ({"item_id": ""}, "item_id: expected a non-empty id"),
        ({"title": None}, "title: expected a value"),
        ({"title": 5}, "title: expected a string, got 5"),
        ({"title": "  "}, "title: expected some text"),
        ({"title": "\ud800x"}, "title: expected text.*surrogate"),
        ({"brand": ["x"]}, "brand: expected a string"),
        ({"category": "Home"}, r"category: expected a list of strings, got 'Home'; write \["),
        ({"category": [1]}, "category: expected a string, got 1"),
        ({"attributes": ["red"]}, "attributes: expected an object"),
        ({"attributes": {"colour": "red"}}, "attributes.colour: expected a list"),
        ({"price": -1}, "price: expected a price >= 0, got -1.0"),
        ({"price": "3"}, "price: expected a number, got '3'"),
        ({"price": True}, "price: expected a number"),
        ({"price": float("nan")}, "price: expected a finite number, got nan"),
        ({"price": float("inf")}, "price: expected a finite number, got inf"),
        ({"price": 10**400}, "price: expected a finite number"),
        ({"in_stock": 1}, "in_stock: expected true or false"),
    ],
)
def test_a_broken_item_is_named_with_its_line(tmp_path, fields, where):
    write_tables(tmp_path, items=[MUG, {**MUG, "item_id": "b", **fields}])
    with pytest.raises(DataError, match=rf"items\.jsonl:2: {where}"):
        read_folder(tmp_path)


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"user_id": None}, "user_id: expected a value"),
        ({"time": None}, "time: expected a value"),
        ({"time": 1.5}, "time: expected an integer"),
        ({"time": "7"}, "time: expected an integer"),
        ({"time": True}, "time: expected an integer"),
        ({"time": 1_700_000_000_000}, "time: .*divide milliseconds by 1000"),
        ({"item_id": "zzz"}, "item_id: expected an item of the items table, got zzz; add the item"),
        ({"event": "view"}, "event: expected one of show, click, order, got view"),
        ({"query": ""}, "query: expected a non-empty query"),
        ({"query": 3}, "query: expected a string"),
        ({"session_id": 1.0}, "session_id: expected a string or an integer"),
    ],
)
def test_a_broken_interaction_is_named_with_its_line(tmp_path, fields, where):
    write_tables(tmp_path, interactions=[CLICK, CLICK, {**CLICK, **fields}])
    with pytest.raises(DataError, match=rf"interactions\.jsonl:3: {where}"):
        read_folder(tmp_path)


@pytest.mark.parametrize(
    "row",
    [
        {"item_id": "a", "grade": 1},
        {"query": "mug", "item_id": "zzz", "grade": 1},
        {"query": "mug", "item_id": "a", "grade": "good"},
        {"query": "mug", "item_id": "a", "grade": float("nan")},
    ],
)
def test_a_broken_judgement_is_named_with_its_line(tmp_path, row):
    write_tables(tmp_path, queries=[row])
    with pytest.raises(DataError, match=r"queries\.jsonl:1: "):
        read_folder(tmp_path)


def test_duplicates_name_both_places(tmp_path):
    write_tables(tmp_path, items=[MUG, {**MUG, "item_id": "b"}, MUG])
    with pytest.raises(DataError, match=r"items\.jsonl:3: item_id: .*stands at items\.jsonl:1"):
        read_folder(tmp_path)
    write_tables(tmp_path, users=[{"user_id": 1}, {"user_id": "1"}])
    (tmp_path / "items.jsonl").write_text(json.dumps(MUG))
    with pytest.raises(DataError, match=r"users\.jsonl:2: user_id: .*stands at users\.jsonl:1"):
        read_folder(tmp_path)


def test_invalid_utf8_is_named_with_its_byte(tmp_path):
    sound = json.dumps(MUG).encode() + b"\n"
    write_tables(tmp_path, items=sound + b'{"item_id": "\xff"}\n')
    with pytest.raises(DataError, match=rf"items\.jsonl:2: .*byte ff at offset {len(sound) + 13}"):
        read_folder(tmp_path)


def test_a_byte_order_mark_is_no_part_of_the_first_row(tmp_path):
    mark = b"\xef\xbb\xbf"
    write_tables(tmp_path, items=mark + json.dumps(MUG).encode() + b"\n")
    assert [item.item_id for item in read_folder(tmp_path).items] == ["a"]
    write_tables(tmp_path, items=mark + b'{"item_id": "\xff"}\n')
    with pytest.raises(DataError, match=r"items\.jsonl:1: .*byte ff at offset 16"):
        read_folder(tmp_path)


@pytest.mark.parametrize(
    "line", ['{"item_id": ', "[1]", "7", "[" * 100_000, '{"item_id": ' + "9" * 5000 + "}"]
)
def test_a_line_that_is_no_object_is_named(tmp_path, line):
    write_tables(tmp_path, items=[MUG, line])
    with pytest.raises(DataError, match=r"items\.jsonl:2: line: expected .*JSON object"):
        read_folder(tmp_path)


def test_blank_lines_count_but_are_no_rows(tmp_path):
    write_tables(tmp_path, items=[MUG, "", {"item_id": "b"}])
    with pytest.raises(DataError, match=r"items\.jsonl:3: title"):
        read_folder(tmp_path)


def test_an_empty_catalogue_a_missing_table_and_two_files_are_refused(tmp_path):
    write_tables(tmp_path, items=[])
    with pytest.raises(DataError, match="at least one sound item"):
        read_folder(tmp_path)
    (tmp_path / "interactions.jsonl").unlink()
    write_tables(tmp_path).joinpath("interactions.jsonl").unlink()
    with pytest.raises(DataError, match=r"interactions\.jsonl or interactions\.parquet"):
        read_folder(tmp_path)
    write_tables(tmp_path)
    (tmp_path / "items.parquet").touch()
    with pytest.raises(DataError, match=r"items\.jsonl and items\.parquet; remove one"):
        read_folder(tmp_path)


def test_untitled_items_pass_when_allowed_or_when_another_field_speaks(tmp_path):
    silent = {"item_id": "b", "title": ""}
    write_tables(tmp_path, items=[MUG, {**silent, "category": ["Cups"]}])
    assert len(read_dataset(tmp_path).items) == 2
    write_tables(tmp_path, items=[MUG, silent])
    with pytest.raises(DataError, match="allow untitled"):
        read_dataset(tmp_path)
    assert len(read_dataset(tmp_path, allow_untitled=True).items) == 2


def test_a_scan_reads_on_and_a_broken_item_stays_known_to_the_log(tmp_path):
    items = [MUG, {"item_id": "b", "title": 5}, {"item_id": "c", "title": "cup", "color": "red"}]
    log = [CLICK, {**CLICK, "item_id": "b"}, {**CLICK, "event": "?"}]
    problems: list[Problem] = []
    tables = scan_folder(write_tables(tmp_path, items=items, interactions=log), problems.append)
    assert [problem.where for problem in problems] == ["items.jsonl:2", "interactions.jsonl:3"]
    assert [item.item_id for item in tables.items] == ["a", "c"]
    assert len(tables.interactions) == 2
    assert tables.unread_columns == {"items": ("color",)}
