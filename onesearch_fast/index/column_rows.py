"""Columns as callers hold them (numpy, torch, arrow, lists) in the form that native code takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from onesearch_fast.errors import invalid
from onesearch_fast.index.expressions import is_unicode
from onesearch_fast.index.predicates import Kind

# name, number of the kind, values, missing, categories, list_begin: csrc/index/item_columns.h
Rows = tuple[
    str,
    int,
    npt.NDArray[Any],
    npt.NDArray[np.bool_] | None,
    list[str],
    npt.NDArray[np.int64] | None,
]

_KINDS: tuple[Kind, ...] = get_args(Kind)
_EXPECTED = "bools, numbers, strings or lists of strings, and None where a value is missing"


def column_rows(
    where: str,
    columns: Mapping[str, Any],
    num_items: int,
    kinds: Mapping[str, Kind] | None = None,
) -> list[Rows]:
    """Each of `columns`, name -> values [num_items]; those named in `kinds` become that kind."""
    if not isinstance(columns, Mapping):
        expected = "a dict of names and values"
        raise invalid(where, "columns", expected, type(columns), kind=TypeError)
    rows = []
    for name, values in columns.items():
        if not isinstance(name, str) or not name or not is_unicode(name):
            raise invalid(where, "columns", "names that are strings, not empty", name)
        argument = f"columns[{name!r}]"
        try:
            cells = _cells_of(values).as_kind((kinds or {}).get(name))
        except _Unfit as error:
            raise invalid(where, argument, error.expected, error.got, kind=TypeError) from error
        if len(cells) != num_items:
            raise invalid(where, argument, f"{num_items} values, one an item", f"{len(cells)}")
        rows.append(cells.as_rows(name))
    return rows


class _Unfit(Exception):  # noqa: N818 (never leaves this module)
    def __init__(self, expected: str, got: object) -> None:
        super().__init__(expected)
        self.expected = expected
        self.got = got


@dataclass(frozen=True, slots=True, eq=False)
class _Cells:
    """A column by its kind; None when all of its values are missing."""

    kind: Kind | None
    values: npt.NDArray[Any]  # of categories: indexes of them; of lists: those of all, one by one
    missing: npt.NDArray[np.bool_] | None = None  # NaN is missing without it
    categories: Sequence[str] = ()
    list_begin: npt.NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.values) if self.list_begin is None else len(self.list_begin) - 1

    def as_kind(self, wanted: Kind | None) -> _Cells:
        if wanted in (None, self.kind) and self.kind is not None:
            return self
        if self.kind is None:
            return _all_missing(wanted, len(self))
        if (self.kind, wanted) == ("integer", "real"):
            return replace(self, kind="real", values=_exact(self.values, np.float64))
        if (self.kind, wanted) == ("real", "integer"):
            present = ~np.isnan(self.values) & ~_mask(self)
            values = _exact(np.where(present, self.values, 0.0), np.int64)
            return replace(self, kind="integer", values=values, missing=~present)
        raise _Unfit(f"values of kind {wanted}", self.kind)

    def as_rows(self, name: str) -> Rows:
        assert self.kind is not None
        values = np.ascontiguousarray(self.values)
        missing = None if self.missing is None else np.ascontiguousarray(self.missing)
        number = 1 + _KINDS.index(self.kind)
        return name, number, values, missing, list(self.categories), self.list_begin


def _mask(cells: _Cells) -> npt.NDArray[np.bool_]:
    return np.zeros(len(cells), np.bool_) if cells.missing is None else cells.missing


def _all_missing(kind: Kind | None, num_items: int) -> _Cells:
    if kind is None:
        raise _Unfit("a value that is not missing, to tell the kind of the column", "none")
    missing = np.ones(num_items, np.bool_)
    if kind == "categories":
        empty = np.zeros(0, np.int64)
        return _Cells(kind, empty, missing, (), np.zeros(num_items + 1, np.int64))
    dtype = {"bool": np.bool_, "real": np.float32}.get(kind, np.int64)
    return _Cells(kind, np.zeros(num_items, dtype), missing)


def _exact(values: npt.NDArray[Any], dtype: type[np.generic]) -> npt.NDArray[Any]:
    with np.errstate(invalid="ignore"):
        converted = values.astype(dtype)
        changed = converted.astype(values.dtype) != values
    # 2^63 as a float comes back as itself from what it overflows to.
    if dtype is np.int64:
        changed |= values >= 2.0**63
    if changed.any():
        raise _Unfit(f"values that {np.dtype(dtype)} holds exactly", values[changed][0].item())
    return converted


def _cells_of(values: Any) -> _Cells:
    module = type(values).__module__.partition(".")[0]
    if module == "pyarrow":
        return _cells_of_arrow(values)
    if module == "torch":
        values = values.detach()
        values = (values.float() if str(values.dtype) == "torch.bfloat16" else values).numpy()
    if isinstance(values, np.ma.MaskedArray):
        return _cells_of_array(values.data, np.ma.getmaskarray(values))
    if not isinstance(values, list | tuple):
        values = np.asarray(values)
        if values.dtype != object:
            return _cells_of_array(values, None)
    return _cells_of_objects(values)


def _cells_of_array(array: npt.NDArray[Any], missing: npt.NDArray[np.bool_] | None) -> _Cells:
    if array.ndim != 1:
        raise _Unfit("shape [num_items]", list(array.shape))
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if array.dtype == np.bool_:
        return _Cells("bool", array, missing)
    if array.dtype.kind in "iu":
        if array.dtype == np.uint64:
            array = _exact(array, np.int64)
        return _Cells("integer", array, missing)
    if array.dtype in (np.float16, np.float32, np.float64):
        array = array.astype(np.float32) if array.dtype == np.float16 else array
        return _Cells("real", array, missing)
    if array.dtype.kind == "U":
        categories, codes = np.unique(array, return_inverse=True)
        return _Cells("category", codes.astype(np.int64), missing, _unicode(categories.tolist()))
    raise _Unfit(_EXPECTED, f"dtype {array.dtype}")


def _cells_of_objects(values: Sequence[Any]) -> _Cells:
    missing = np.fromiter((_is_missing(value) for value in values), np.bool_, len(values))
    present = [value for value, gone in zip(values, missing, strict=True) if not gone]
    kind = _kind_of(present)
    if kind is None:
        return _Cells(None, np.zeros(len(values)), missing)
    if kind == "categories":
        lists = [() if gone else value for value, gone in zip(values, missing, strict=True)]
        return _cells_of_lists(lists, missing)
    if kind == "category":
        codes, categories = _encoded(present)
        return _Cells(kind, _spread(codes, missing), missing, categories)
    dtype = {"bool": np.bool_, "integer": np.int64, "real": np.float64}[kind]
    try:
        numbers: npt.NDArray[Any] = np.array(present, dtype)
    except OverflowError as error:
        raise _Unfit("integers in [-2^63, 2^63)", str(error)) from error
    if kind == "real" and any(
        number != value for number, value in zip(numbers.tolist(), present, strict=True)
    ):
        raise _Unfit(
            "integers that float64 holds exactly, beside numbers with a point", "larger ones"
        )
    return _Cells(kind, _spread(numbers, missing), missing)


def _is_missing(value: Any) -> bool:
    if value is None or type(value).__name__ == "NAType":  # pandas' own
        return True
    return isinstance(value, float | np.floating) and bool(value != value)


def _kind_of(present: Sequence[Any]) -> Kind | None:
    kinds = {_kind_of_type(one) for one in set(map(type, present))}
    if kinds == {"integer", "real"}:
        return "real"
    if len(kinds) > 1:
        raise _Unfit("values of one kind", " and ".join(sorted(kinds)))
    return kinds.pop() if kinds else None


def _kind_of_type(type_: type) -> Kind:
    # bool before int, of which it is one.
    if issubclass(type_, bool | np.bool_):
        return "bool"
    if issubclass(type_, int | np.integer):
        return "integer"
    if issubclass(type_, float | np.floating):
        return "real"
    if issubclass(type_, str):
        return "category"
    if issubclass(type_, list | tuple | set | frozenset | np.ndarray):
        return "categories"
    raise _Unfit(_EXPECTED, type_)


def _spread(present: npt.NDArray[Any], missing: npt.NDArray[np.bool_]) -> npt.NDArray[Any]:
    values = np.zeros(len(missing), present.dtype)
    values[~missing] = present
    return values


def _encoded(texts: Sequence[Any]) -> tuple[npt.NDArray[np.int64], list[str]]:
    codes: dict[str, int] = {}
    for text in texts:
        if not isinstance(text, str):
            raise _Unfit("strings in the lists", type(text))
        codes.setdefault(text, len(codes))
    return np.fromiter((codes[text] for text in texts), np.int64, len(texts)), _unicode(list(codes))


def _unicode(texts: list[str]) -> list[str]:
    for text in texts:
        if not is_unicode(text):
            raise _Unfit("strings of valid Unicode", text)
    return texts


def _cells_of_lists(lists: Sequence[Any], missing: npt.NDArray[np.bool_]) -> _Cells:
    # Sets have no order of their own; sorted, equal sets give equal bytes.
    ordered = [sorted(one) if isinstance(one, set | frozenset) else one for one in lists]
    list_begin = np.zeros(len(lists) + 1, np.int64)
    np.cumsum([len(one) for one in ordered], out=list_begin[1:])
    codes, categories = _encoded([text for one in ordered for text in one])
    return _Cells("categories", codes, missing, categories, list_begin)


def _cells_of_arrow(values: Any) -> _Cells:
    import pyarrow as pa

    if isinstance(values, pa.ChunkedArray):
        values = values.unify_dictionaries()
        values = pa.concat_arrays(values.chunks) if values.num_chunks else pa.array([], values.type)
    if not isinstance(values, pa.Array):
        raise _Unfit("an arrow array", type(values))
    missing = values.is_null().to_numpy(zero_copy_only=False)
    if pa.types.is_null(values.type):
        return _Cells(None, np.zeros(len(values)), missing)
    if pa.types.is_list(values.type) or pa.types.is_large_list(values.type):
        return _cells_of_arrow_lists(values, missing)
    present = values.drop_null()
    if pa.types.is_dictionary(values.type) or _is_text(values.type):
        codes, categories = _encoded_arrow(present)
        return _Cells("category", _spread(codes, missing), missing, categories)
    return _cells_of_array(_spread(present.to_numpy(zero_copy_only=False), missing), missing)


def _cells_of_arrow_lists(values: Any, missing: npt.NDArray[np.bool_]) -> _Cells:
    list_begin = np.zeros(len(values) + 1, np.int64)
    np.cumsum(values.value_lengths().fill_null(0).to_numpy(), out=list_begin[1:])
    flat = values.flatten()
    if flat.null_count:
        raise _Unfit("strings in the lists", "null")
    codes, categories = _encoded_arrow(flat)
    return _Cells("categories", codes, missing, categories, list_begin)


def _encoded_arrow(texts: Any) -> tuple[npt.NDArray[np.int64], list[str]]:
    import pyarrow as pa

    if not pa.types.is_dictionary(texts.type):
        texts = texts.dictionary_encode()
    if not _is_text(texts.type.value_type) or texts.dictionary.null_count:
        raise _Unfit("strings", f"values of {texts.type.value_type}, or null among the categories")
    codes: npt.NDArray[np.int64] = texts.indices.to_numpy().astype(np.int64)
    return codes, texts.dictionary.to_pylist()


def _is_text(type_: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_string(type_) or pa.types.is_large_string(type_))
