"""Checks of array arguments. Torch CPU tensors and Arrow columns become arrays without a copy."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from onesearch_fast.errors import invalid

Number = TypeVar("Number", bound=np.generic)


def integer_array(where: str, argument: str, values: Any, axes: str) -> npt.NDArray[np.integer]:
    """`values` as an integer array with as many axes as `axes` names ("[n]", "[n, num_levels]")."""
    array = _as_array(where, argument, values)
    if array.dtype.kind not in "iu":
        remedy = "pass a list or an array of integers"
        raise invalid(where, argument, "an integer dtype", str(array.dtype), remedy, TypeError)
    if array.ndim != axes.count(",") + 1:
        raise invalid(where, argument, f"shape {axes}", list(array.shape))
    return _aligned(array.astype(array.dtype.newbyteorder("="), copy=False))


def code_rows(where: str, codes: Any, num_levels: int, rows: str = "n") -> npt.NDArray[np.integer]:
    """`codes` [rows, num_levels] as an integer array; a column of no lists has any width."""
    expected = f"[{rows}, {num_levels}]"
    array = integer_array(where, "codes", codes, expected)
    if array.shape == (0, 0):
        return array.reshape(0, num_levels)
    if array.shape[1] != num_levels:
        raise invalid(where, "codes", f"shape {expected}", list(array.shape))
    return array


def index_vector(where: str, argument: str, values: Any) -> npt.NDArray[np.int64]:
    """`values` [n] as contiguous int64; a single integer counts as a vector of one."""
    array = integer_array(where, argument, np.atleast_1d(_as_array(where, argument, values)), "[n]")
    if array.dtype == np.uint64 and array.size and array.max() > np.iinfo(np.int64).max:
        raise invalid(where, argument, "integers below 2^63", int(array.max()))
    return _aligned(np.ascontiguousarray(array, dtype=np.int64))


def float_vector(where: str, argument: str, values: Any) -> npt.NDArray[np.float64]:
    """`values` [n] as contiguous float64; integers and booleans count as numbers."""
    array = _as_array(where, argument, values)
    if array.dtype.kind not in "biuf":
        raise invalid(where, argument, "a real dtype", str(array.dtype), kind=TypeError)
    if array.ndim != 1:
        raise invalid(where, argument, "shape [n]", list(array.shape))
    return _aligned(np.ascontiguousarray(array, dtype=np.float64))


def finite32(where: str, argument: str, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """`values` as float32; the message names the first row that is not finite there."""
    with np.errstate(over="ignore"):
        narrow = values.astype(np.float32)
    if not np.isfinite(narrow).all():
        row = int(np.flatnonzero(~np.isfinite(narrow))[0])
        raise invalid(where, argument, "finite float32 numbers", f"{values[row]} at row {row}")
    return narrow


def item_set(
    where: str, argument: str, items: Any, num_items: int
) -> npt.NDArray[np.int64] | npt.NDArray[np.bool_]:
    """`items` as ids, or as a mask over the rows given to `build` when their dtype is bool."""
    array = _as_array(where, argument, items)
    if array.dtype != np.bool_:
        return index_vector(where, argument, array)
    if array.shape != (num_items,):
        raise invalid(where, argument, f"a mask of shape [{num_items}]", list(array.shape))
    return np.ascontiguousarray(array)


def _aligned(array: npt.NDArray[Number]) -> npt.NDArray[Number]:
    # Fields of records and slices of byte buffers may lie anywhere; native code reads whole values.
    return np.require(array, requirements="A")


def _as_array(where: str, argument: str, values: Any) -> npt.NDArray[Any]:
    try:
        array = _from_arrow(values) if _is_arrow(values) else np.asarray(values)
    except (ValueError, RuntimeError, TypeError) as error:
        # Ragged lists, columns with nulls, and tensors that torch will not show to numpy.
        remedy = str(error).splitlines()[0]
        raise invalid(where, argument, "an array", type(values), remedy, TypeError) from error
    # numpy makes an empty list float64, and integers are meant.
    empty_list = array.size == 0 and isinstance(values, list | tuple)
    return array.astype(np.int64) if empty_list else array


def _is_arrow(values: Any) -> bool:
    # By name: whoever holds a column has imported pyarrow, nobody else needs it.
    return type(values).__module__.partition(".")[0] == "pyarrow"


def _from_arrow(values: Any) -> npt.NDArray[Any]:
    """[n] of a column, [n, k] of a column of lists of length k or of a table of k columns."""
    if hasattr(values, "columns"):
        return np.stack([_from_arrow(column) for column in values.columns], axis=1)
    if hasattr(values, "combine_chunks"):
        values = values.chunk(0) if values.num_chunks == 1 else values.combine_chunks()
    if hasattr(values, "dictionary_decode"):
        values = values.dictionary_decode()
    if values.null_count > 0:
        raise ValueError(f"it has {values.null_count} nulls")
    if not hasattr(values.type, "value_field"):
        return np.asarray(values.to_numpy(zero_copy_only=False))
    flat = _from_arrow(values.flatten())
    return flat.reshape(len(values), _list_length(values), *flat.shape[1:])


def _list_length(lists: Any) -> int:
    """Of each of the lists; 0 where there is none and the type does not tell."""
    if hasattr(lists.type, "list_size"):
        return int(lists.type.list_size)
    lengths = np.unique(lists.value_lengths().to_numpy())
    if len(lengths) > 1:
        raise ValueError("its lists have several lengths")
    return int(lengths.sum())
