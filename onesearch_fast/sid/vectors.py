"""Rows of vectors, in memory or not: read in chunks, checked, again and again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from onesearch_fast.errors import invalid
from onesearch_fast.sid.nearest import FloatArray

# A chunk of 128 floats a row is 8 MiB: large beside a call's overhead, small beside memory.
CHUNK_ROWS = 1 << 14
# Squared norms of larger values leave float32.
LARGEST_VALUE = 1e15


class VectorSource:
    """Vectors [n, dim] that are read in chunks of float32, as often as needed.

    value: an array or memory map [n, dim]; or chunks of such rows (arrays, tensors, pyarrow
    fixed-size lists or record batches of one such column) in anything that can be gone through
    again: a list of memory maps, a data set, an object with `__iter__`. Every pass checks what it
    reads and raises ValueError with the number of the first bad row.
    """

    def __init__(self, where: str, argument: str, value: Any, dim: int | None = None) -> None:
        self._where, self._argument = where, argument
        self._value = value if _holds_chunks(value) else np.asarray(value)
        self._dim = dim
        if isinstance(self._value, Iterator):
            remedy = "pass a list, or an object whose __iter__ starts anew"
            expected = "chunks that can be read more than once"
            raise invalid(where, argument, expected, "an iterator", remedy, TypeError)
        if isinstance(self._value, np.ndarray):
            self._check_form(self._value)

    def chunks(self) -> Iterator[FloatArray]:
        """The rows in order, at most `CHUNK_ROWS` at a time: float32, contiguous, finite."""
        begin = 0
        for chunk in self._pieces():
            self._check_form(chunk)
            for at in range(0, len(chunk), CHUNK_ROWS):
                rows = chunk[at : at + CHUNK_ROWS]
                self._check_numbers(rows, begin)
                begin += len(rows)
                yield np.ascontiguousarray(rows, np.float32)

    def count(self) -> int:
        """Number of rows; reads and checks all of them."""
        return sum(len(chunk) for chunk in self.chunks())

    def take(self, rows: npt.NDArray[np.intp]) -> FloatArray:
        """The rows with these numbers, which are sorted, in one pass: float32 [len(rows), dim]."""
        parts: list[FloatArray] = []
        begin = 0
        for chunk in self.chunks():
            first, last = np.searchsorted(rows, (begin, begin + len(chunk)))
            parts.append(chunk[rows[first:last] - begin])
            begin += len(chunk)
        return np.concatenate(parts)

    def _pieces(self) -> Iterator[npt.NDArray[Any]]:
        if isinstance(self._value, np.ndarray):
            yield self._value
        else:
            yield from (_as_rows(chunk) for chunk in self._value)

    def _check_form(self, x: npt.NDArray[Any]) -> None:
        width = "dim" if self._dim is None else self._dim
        if x.ndim != 2 or x.shape[1] == 0 or (self._dim is not None and x.shape[1] != self._dim):
            expected = f"shape [n, {width}]"
            raise invalid(self._where, self._argument, expected, f"shape {list(x.shape)}")
        if not np.issubdtype(x.dtype, np.floating):
            expected = "floating-point numbers"
            raise invalid(self._where, self._argument, expected, str(x.dtype), kind=TypeError)
        self._dim = x.shape[1]

    def _check_numbers(self, x: npt.NDArray[Any], begin: int) -> None:
        # One reduction each way costs a third of a mask of all numbers; NaN fails both.
        if x.size == 0 or (x.max() <= LARGEST_VALUE and x.min() >= -LARGEST_VALUE):
            return
        bad = ~(np.abs(x) <= LARGEST_VALUE)
        row, column = np.argwhere(bad)[0]
        count = int(bad.any(axis=1).sum())
        raise invalid(
            self._where,
            self._argument,
            f"finite numbers of magnitude at most {LARGEST_VALUE:g}",
            f"{x[row, column]} in row {begin + row}, column {column}",
            f"{count} of {len(x)} rows read at once are bad: mend or drop them",
        )


def _holds_chunks(value: Any) -> bool:
    """Whether it gives chunks of rows, and is not itself a table of numbers."""
    if hasattr(value, "__array__"):
        return False
    if isinstance(value, (list, tuple)):
        return len(value) > 0 and getattr(value[0], "ndim", 2 if _is_arrow(value[0]) else 0) == 2
    return isinstance(value, Iterable)


def _is_arrow(value: Any) -> bool:
    return type(value).__module__.startswith("pyarrow")


def _as_rows(chunk: Any) -> npt.NDArray[Any]:
    if not _is_arrow(chunk):
        return np.asarray(chunk)
    column = chunk.column(0) if hasattr(chunk, "column") else chunk
    numbers = column.flatten()
    if hasattr(numbers, "combine_chunks"):
        numbers = numbers.combine_chunks()
    return np.asarray(numbers).reshape(len(column), -1)
