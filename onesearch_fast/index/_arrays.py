"""Checks of array arguments. A torch CPU tensor becomes an array without a copy."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from onesearch_fast.errors import invalid


def integer_array(where: str, argument: str, values: Any, axes: str) -> npt.NDArray[np.integer]:
    """`values` as an integer array with as many axes as `axes` names ("[n]", "[n, num_levels]")."""
    array = _as_array(values)
    if array.dtype.kind not in "iu":
        raise invalid(where, argument, "an integer dtype", str(array.dtype), kind=TypeError)
    if array.ndim != axes.count(",") + 1:
        raise invalid(where, argument, f"shape {axes}", list(array.shape))
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def index_vector(where: str, argument: str, values: Any) -> npt.NDArray[np.int64]:
    """`values` [n] as contiguous int64; a single integer counts as a vector of one."""
    array = integer_array(where, argument, np.atleast_1d(_as_array(values)), "[n]")
    if array.dtype == np.uint64 and array.size and array.max() > np.iinfo(np.int64).max:
        raise invalid(where, argument, "integers below 2^63", int(array.max()))
    return np.ascontiguousarray(array, dtype=np.int64)


def _as_array(values: Any) -> npt.NDArray[Any]:
    array = np.asarray(values)
    # numpy makes an empty list float64, and integers are meant.
    empty_list = array.size == 0 and isinstance(values, list | tuple)
    return array.astype(np.int64) if empty_list else array
