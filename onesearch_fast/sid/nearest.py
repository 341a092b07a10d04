"""The one assignment rule of fitting and encoding, and what a code leaves of a vector."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from onesearch_fast.errors import invalid
from onesearch_fast.ops import code_residual, nearest_code

FloatArray = npt.NDArray[np.float32]
Prices = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int32]

# Distances of one block of rows to all centroids: 4 MiB, so that the passes over it hit the cache.
_BLOCK_ENTRIES = 1 << 20
_SCRAMBLE = np.uint64(0x9E3779B97F4A7C15)  # 2^64 divided by the golden ratio


def nearest(
    x: FloatArray,
    centroids: FloatArray,
    prices: Prices | None = None,
    groups: IntArray | None = None,
    device: str = "cpu",
) -> IntArray:
    """argmin_c ||x_n - centroids_c||^2 + price of c, ties to the lower c -> int32 [n].

    x [n, dim], centroids [k, dim], prices float64 [k], or [group, k] with groups [n] (None:
    all 0). As `ops.nearest_code`: the same bits of a row give the same code in any batch, on any
    device.
    """
    of_price = None if prices is None else _tensor(prices, device)
    of_group = None if groups is None else _tensor(groups, device)
    codes = nearest_code(_tensor(x, device), _tensor(centroids, device), of_price, of_group)
    found: IntArray = codes.cpu().numpy()
    return found


def residual(
    x: FloatArray,
    centroids: FloatArray,
    codes: IntArray,
    normalize: bool,
    project: bool = False,
    device: str = "cpu",
) -> FloatArray:
    """r = x - centroids[codes], with `normalize` r / ||r||_2; [n, dim]. As `ops.code_residual`."""
    vectors, table, of = (_tensor(array, device) for array in (x, centroids, codes))
    rest: FloatArray = code_residual(vectors, table, of, normalize, project).cpu().numpy()
    return rest


def _tensor(array: npt.NDArray[Any], device: str) -> torch.Tensor:
    array = np.ascontiguousarray(array)
    # torch warns of memory that it could write to and should not.
    return torch.from_numpy(array if array.flags.writeable else array.copy()).to(device)


def usable_device(where: str, device: str | None) -> str:
    """`device`, or for None a GPU where torch sees one; ValueError unless torch computes there."""
    if device is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu" or (device.startswith("cuda") and torch.cuda.is_available()):
        return device
    raise invalid(where, "device", '"cpu", or "cuda" where torch sees a GPU', device)


def count_distinct(x: FloatArray) -> int:
    """Number of distinct rows of x [n, dim], 0.0 and -0.0 alike."""
    return int(group_rows(x).max(initial=-1)) + 1


def largest_group(x: FloatArray) -> int:
    """Rows in the largest group of identical rows of x [n, dim]."""
    return int(np.bincount(group_rows(x)).max())


def group_rows(x: FloatArray) -> npt.NDArray[np.intp]:
    """[n], equal numbers from 0 on for equal rows of x [n, dim]; 0.0 and -0.0 alike.

    Rows are sorted by a 64-bit hash, then compared; only if two differ under one hash are they
    sorted by their bytes, ten times as slow. Cost: two passes over x.
    """
    _, first, group = np.unique(_row_hashes(x), return_index=True, return_inverse=True)
    step = max(1, _BLOCK_ENTRIES // x.shape[1])
    for begin in range(0, len(x), step):
        rows = slice(begin, begin + step)
        if not np.array_equal(x[rows], x[first[group[rows]]]):
            return np.unique(_row_bytes(x), return_inverse=True)[1]
    return group


def _row_hashes(x: FloatArray) -> npt.NDArray[np.uint64]:
    """Random combinations, modulo 2^64, of the scrambled bits of rows: uint64 [n]."""
    weights = np.random.default_rng(0).integers(0, 1 << 64, x.shape[1], np.uint64)
    hashes = np.empty(len(x), np.uint64)
    step = max(1, _BLOCK_ENTRIES // x.shape[1])
    for begin in range(0, len(x), step):
        rows = np.ascontiguousarray(x[begin : begin + step] + np.float32(0.0))  # no -0.0
        bits = rows.view(np.uint32) * _SCRAMBLE  # of round numbers, the low bits are all 0
        hashes[begin : begin + step] = (bits ^ (bits >> np.uint64(32))) @ weights
    return hashes


def _row_bytes(x: FloatArray) -> npt.NDArray[np.void]:
    """Rows as opaque bytes, since `np.unique` by axis would compare number by number."""
    rows = np.ascontiguousarray(x + np.float32(0.0))
    return rows.view(np.dtype((np.void, rows.itemsize * rows.shape[1]))).ravel()
