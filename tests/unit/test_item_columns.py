"""ItemColumns: values of every form in, the same values out; files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from onesearch_fast.errors import FormatError
from onesearch_fast.index import ItemColumns, SidTrie, col

NUM_ITEMS = 60


def trie_of(num_items: int, seed: int = 0) -> SidTrie:
    """One item a SID, in an order that is not that of the rows."""
    rng = np.random.default_rng(seed)
    codes = np.stack([np.arange(num_items) // 250, np.arange(num_items) % 250], axis=1)
    return SidTrie.build(rng.permutation(codes), (250, 250))


@pytest.fixture(scope="module")
def trie() -> SidTrie:
    return trie_of(NUM_ITEMS)


def rows_of(trie: SidTrie) -> list[int]:
    """The row of build of each position: rows are the item ids."""
    return trie.items(np.arange(trie.num_sids))[0].tolist()


def check(trie: SidTrie, columns: ItemColumns, name: str, kind: str, values: list[Any]) -> None:
    assert columns.kinds[name] == kind
    assert columns.values(name) == [values[row] for row in rows_of(trie)]


def round_trip(trie: SidTrie, given: Any, kind: str, values: list[Any]) -> None:
    columns = ItemColumns.build(trie, {"x": given})
    columns.verify()
    check(trie, columns, "x", kind, values)


values_of_kind = {
    "bool": st.booleans(),
    "integer": st.integers(-(2**63), 2**63 - 1) | st.integers(-200, 300),
    "real": st.floats(allow_nan=False) | st.sampled_from([0.1, 2.5]),
    "category": st.text(max_size=3) | st.sampled_from(["a", "b"]),
    "categories": st.lists(st.sampled_from(["a", "b", "é", ""]), max_size=4),
}


@pytest.mark.parametrize("kind", values_of_kind)
@given(data=st.data())
def test_lists_come_out_as_they_went_in(kind: str, data: st.DataObject) -> None:
    values = data.draw(st.lists(st.none() | values_of_kind[kind], min_size=1, max_size=40))
    trie = trie_of(len(values))
    columns = ItemColumns.build(trie, {"x": values}, kinds={"x": kind})
    columns.verify()
    check(trie, columns, "x", kind, values)
    missing = trie.filter(where=col("x").is_missing(), columns=columns).item_allowed()
    assert missing.tolist() == [values[row] is None for row in rows_of(trie)]


@pytest.mark.parametrize(
    "dtype",
    ["i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", ">i4", ">f8"],
)
def test_numpy_numbers(trie: SidTrie, dtype: str) -> None:
    array = np.arange(2 * NUM_ITEMS).astype(dtype)[::2]  # strided
    kind = "real" if np.dtype(dtype).kind == "f" else "integer"
    round_trip(trie, array, kind, array.tolist())
    round_trip(
        trie,
        np.ma.masked_array(array, array == 4),
        kind,
        [None if v == 4 else v for v in array.tolist()],
    )


def test_numpy_bools_and_strings(trie: SidTrie) -> None:
    odd = np.arange(NUM_ITEMS) % 2 == 1
    round_trip(trie, odd, "bool", odd.tolist())
    names = np.array([f"n{i % 7}" for i in range(NUM_ITEMS)])
    round_trip(trie, names, "category", names.tolist())
    round_trip(trie, names.astype(object), "category", names.tolist())


@pytest.mark.parametrize(
    "dtype", [torch.bfloat16, torch.float16, torch.float32, torch.int32, torch.bool]
)
def test_torch_tensors(trie: SidTrie, dtype: torch.dtype) -> None:
    tensor = torch.arange(NUM_ITEMS).to(dtype)
    kind = {torch.int32: "integer", torch.bool: "bool"}.get(dtype, "real")
    round_trip(trie, tensor, kind, tensor.tolist())


@pytest.mark.parametrize(
    ("array", "kind"),
    [
        (pa.array([True, None] * 30), "bool"),
        (pa.array([1, None] * 30, pa.uint16()), "integer"),
        (pa.array([0.5, None] * 30, pa.float16()), "real"),
        (pa.array([0.1, None] * 30), "real"),
        (pa.array(["a", None] * 30), "category"),
        (pa.array(["a", None] * 30, pa.large_string()), "category"),
        (pa.array(["a", None] * 30).dictionary_encode(), "category"),
        (pa.chunked_array([["a"], ["b", None] * 29, ["c"]]), "category"),
        (pa.chunked_array([["a"], ["b", None] * 29, ["c"]]).dictionary_encode(), "category"),
        (pa.array([["a", "b"], None, []] * 20), "categories"),
        (pa.array([["x"]] * 5 + [["a", "b"], None, []] * 20).slice(5), "categories"),
    ],
)
def test_arrow_arrays(trie: SidTrie, array: Any, kind: str) -> None:
    round_trip(trie, array, kind, array.to_pylist())


def test_nan_is_missing_and_infinity_is_not(trie: SidTrie) -> None:
    values = [float("nan"), float("inf"), None, -0.0] * 15
    expected = [None, float("inf"), None, -0.0] * 15
    round_trip(trie, values, "real", expected)
    round_trip(trie, np.array(values, dtype=np.float32), "real", expected)


def test_sets_are_sorted_and_mixed_numbers_are_reals(trie: SidTrie) -> None:
    round_trip(trie, [{"b", "a"}, ("c",), []] * 20, "categories", [["a", "b"], ["c"], []] * 20)
    round_trip(trie, [1, 2.5, None] * 20, "real", [1.0, 2.5, None] * 20)


def test_kinds_decide_where_values_do_not_tell(trie: SidTrie) -> None:
    kinds = {"a": "real", "b": "integer", "c": "categories", "d": "bool"}
    nothing = [None] * NUM_ITEMS
    values = {"a": [3] * NUM_ITEMS, "b": [3.0, None] * 30, "c": nothing, "d": nothing}
    columns = ItemColumns.build(trie, values, kinds)
    assert columns.kinds == kinds
    check(trie, columns, "a", "real", [3.0] * NUM_ITEMS)
    check(trie, columns, "b", "integer", [3, None] * 30)
    check(trie, columns, "c", "categories", nothing)


def test_values_take_few_bytes(trie: SidTrie) -> None:
    def nbytes(values: Any) -> int:
        return ItemColumns.build(trie_of(50_000), {"x": values}).nbytes

    assert nbytes(np.arange(50_000) % 200) < 52_000
    assert nbytes(np.arange(50_000, dtype=np.float64) / 2) < 202_000
    assert nbytes([f"n{i % 100}" for i in range(50_000)]) < 54_000
    assert nbytes([["shop", f"n{i % 100}"] for i in range(50_000)]) < 56_000


def test_a_file_holds_the_columns(trie: SidTrie, tmp_path: Path) -> None:
    path = tmp_path / "columns.bin"
    values = {"price": [i / 8 for i in range(NUM_ITEMS)], "brand": ["a", "é", None] * 20}
    columns = ItemColumns.build(trie, values)
    columns.save(path)
    for verify in (True, False):
        loaded = ItemColumns.load(path, verify=verify)
        assert (
            repr(loaded) == repr(columns) == "ItemColumns(60 items, price: real, brand: category)"
        )
        assert loaded.nbytes == path.stat().st_size
        assert loaded.categories("brand") == ["a", "é"]
        check(trie, loaded, "price", "real", values["price"])
        check(trie, loaded, "brand", "category", values["brand"])
    assert ItemColumns.load(path).belongs_to(trie)
    assert ItemColumns.load(path).belongs_to(trie_of(NUM_ITEMS))
    assert not columns.belongs_to(trie_of(NUM_ITEMS, seed=1))


def test_bad_files_are_refused(trie: SidTrie, tmp_path: Path) -> None:
    path = tmp_path / "columns.bin"
    ItemColumns.build(trie, {"x": list(range(NUM_ITEMS))}).save(path)
    sound = path.read_bytes()
    path.write_bytes(sound[:-1])
    with pytest.raises(FormatError, match="file size: expected"):
        ItemColumns.load(path, verify=False)
    path.write_bytes(sound[:-3] + b"\x01" + sound[-2:])
    ItemColumns.load(path, verify=False)
    with pytest.raises(FormatError, match="its checksum to match, got altered bytes"):
        ItemColumns.load(path)
    with pytest.raises(FormatError, match="checksum"):
        ItemColumns.load(path, verify=False).verify()
    with pytest.raises(FileNotFoundError):
        ItemColumns.load(tmp_path / "none")


@pytest.mark.parametrize(
    ("values", "kind", "message"),
    [
        ([1] * 59, ValueError, "columns['x']: expected 60 values, one an item, got 59"),
        ([1, "a"] * 30, TypeError, "values of one kind, got category and integer"),
        ([True, 1] * 30, TypeError, "values of one kind, got bool and integer"),
        ([None] * 60, TypeError, "a value that is not missing, to tell the kind"),
        ([1 + 2j] * 60, TypeError, "bools, numbers, strings or lists of strings"),
        ([["a", 5]] * 60, TypeError, "strings in the lists, got <class 'int'>"),
        (["\ud800"] * 60, TypeError, "strings of valid Unicode"),
        ([2**63] * 60, TypeError, "integers in [-2^63, 2^63)"),
        ([2**53 + 1, 0.5] * 30, TypeError, "integers that float64 holds exactly"),
        (np.full(60, 2**63, np.uint64), TypeError, "values that int64 holds exactly"),
        (np.zeros((60, 1)), TypeError, "shape [num_items], got [60, 1]"),
        (np.zeros(60, "M8[s]"), TypeError, "got dtype datetime64[s]"),
        (pa.array([[1]] * 60), TypeError, "strings, got values of int64"),
        (pa.array([1] * 60).dictionary_encode(), TypeError, "strings, got values of int64"),
        (pa.array([["a", None]] * 60), TypeError, "strings in the lists, got null"),
        (5, TypeError, "shape [num_items], got []"),
    ],
)
def test_bad_values_are_refused(
    trie: SidTrie, values: Any, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind) as error:
        ItemColumns.build(trie, {"x": values})
    assert str(error.value).startswith("ItemColumns.build: columns['x']: expected")
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("values", "kind", "message"),
    [
        ([1.5] * 60, "integer", "values that int64 holds exactly, got 1.5"),
        ([2.0**63] * 60, "integer", "values that int64 holds exactly"),
        (["a"] * 60, "real", "values of kind real, got category"),
        ([2**53 + 1] * 60, "real", "values that float64 holds exactly"),
    ],
)
def test_values_that_fit_no_kind_are_refused(
    trie: SidTrie, values: Any, kind: Any, message: str
) -> None:
    with pytest.raises(TypeError) as error:
        ItemColumns.build(trie, {"x": values}, kinds={"x": kind})
    assert message in str(error.value)


def test_other_bad_arguments_are_refused(trie: SidTrie) -> None:
    columns = ItemColumns.build(trie, {"x": [1] * NUM_ITEMS})
    with pytest.raises(TypeError, match="trie: expected a SidTrie"):
        ItemColumns.build("trie", {})
    with pytest.raises(TypeError, match="columns: expected a dict"):
        ItemColumns.build(trie, [1, 2])
    with pytest.raises(ValueError, match="names that are strings, not empty"):
        ItemColumns.build(trie, {"": [1] * NUM_ITEMS})
    with pytest.raises(ValueError, match="name: expected one of the columns, got 'y'"):
        columns.values("y")
    with pytest.raises(ValueError, match=r"positions in \[0, 60\), got 60"):
        columns.values("x", [0, 60])
    with pytest.raises(TypeError, match=r"ItemColumns\.build"):
        ItemColumns({"price": [1]})  # type: ignore[arg-type]
