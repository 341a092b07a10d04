"""The one assignment rule of fitting and encoding: which centroid is nearest to a vector."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from onesearch_fast.errors import invalid

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int32]

# Distances of one block of rows to all centroids: 4 MiB, so that the passes over it hit the cache.
_BLOCK_ENTRIES = 1 << 20
_UNIT_ROUNDOFF = 2.0**-24
# A residual this small beside its vector is rounding of the subtraction, not information.
_NO_RESIDUAL = 1e-6
# faiss keeps seeds in 32 signed bits, and each level adds its number.
_SEED_LIMIT = 1 << 30


def nearest(x: FloatArray, centroids: FloatArray, prices: FloatArray | None = None) -> IntArray:
    """argmin_c ||x_n - centroids_c||^2 + prices_c, ties to the lower c -> int32 [n].

    x [n, dim], centroids [k, dim], prices [k] (None: all 0). The same bits of a row give the same
    code in any batch. Float32 products differ in their last bits between batch sizes, so every
    centroid within a relative gap of 1e-5 of the best (more where `dim` widens the float32 bound)
    is measured again in float64, summed in a fixed order. Cost: n k dim multiply-adds.
    """
    offsets = _offsets(centroids, prices)
    tolerance = max(1e-5, 4 * centroids.shape[1] * _UNIT_ROUNDOFF)
    codes = np.empty(len(x), np.int32)
    for rows in _blocks(len(x), len(centroids)):
        codes[rows] = _nearest_block(x[rows], centroids, prices, offsets, tolerance)
    return codes


def gap_to(
    x: FloatArray,
    centroids: FloatArray,
    prices: FloatArray,
    code: int,
    targets: npt.NDArray[np.intp],
) -> FloatArray:
    """min over c in targets of (||x_n - c||^2 + prices_c), minus the same of `code`: float32 [n].

    Within float32 rounding: what `nearest` calls a tie may come out a little off 0.
    """
    offsets = _offsets(centroids, prices)
    gaps = np.empty(len(x), np.float32)
    for rows in _blocks(len(x), len(centroids)):
        costs = _costs(x[rows], centroids, offsets)
        gaps[rows] = costs[:, targets].min(axis=1) - costs[:, code]
    return gaps


def _blocks(num_rows: int, num_centroids: int) -> Iterator[slice]:
    step = max(1, _BLOCK_ENTRIES // num_centroids)
    return (slice(begin, begin + step) for begin in range(0, num_rows, step))


def _offsets(centroids: FloatArray, prices: FloatArray | None) -> FloatArray:
    """What a centroid costs apart from the row: its squared norm and its price."""
    norms: FloatArray = np.einsum("kd,kd->k", centroids, centroids)
    return norms if prices is None else norms + prices


def _costs(x: FloatArray, centroids: FloatArray, offsets: FloatArray) -> FloatArray:
    """Squared distances plus prices, [n, k], less ||x||^2, which is the same for every centroid."""
    costs: FloatArray = x @ centroids.T
    costs *= -2.0
    costs += offsets
    return costs


def _nearest_block(
    x: FloatArray,
    centroids: FloatArray,
    prices: FloatArray | None,
    offsets: FloatArray,
    tolerance: float,
) -> IntArray:
    costs = _costs(x, centroids, offsets)
    codes: IntArray = costs.argmin(axis=1).astype(np.int32)
    best = costs[np.arange(len(x)), codes]
    scale = np.einsum("nd,nd->n", x, x) + offsets[codes]
    close = costs <= (best + tolerance * scale)[:, None]
    for row in np.flatnonzero(np.count_nonzero(close, axis=1) > 1):
        codes[row] = _nearest_exact(x[row], centroids, prices, np.flatnonzero(close[row]))
    return codes


def _nearest_exact(
    x: FloatArray,
    centroids: FloatArray,
    prices: FloatArray | None,
    candidates: npt.NDArray[np.intp],
) -> int:
    gaps = centroids[candidates].astype(np.float64) - x
    costs = (gaps * gaps).sum(axis=1)
    if prices is not None:
        costs += prices[candidates]
    return int(candidates[costs.argmin()])


def residual(x: FloatArray, centroids: FloatArray, codes: IntArray, normalize: bool) -> FloatArray:
    """r = x - centroids[codes], with `normalize` r / ||r||_2; [n, dim].

    A residual under 1e-6 of ||x|| + ||c|| becomes exactly zero, so that normalising never blows
    rounding up to a direction.
    """
    chosen = centroids[codes]
    r = x - chosen
    norms = _norms(r)
    vanished = norms <= _NO_RESIDUAL * (_norms(x) + _norms(chosen))
    if normalize:
        r = (r / np.where(vanished, 1.0, norms)[:, None]).astype(np.float32)
    r[vanished] = 0.0
    return r


def check_seed(where: str, seed: int) -> None:
    """Raises ValueError unless faiss, numpy and scikit-learn all take the seed."""
    if not 0 <= seed < _SEED_LIMIT:
        raise invalid(where, "seed", f"an integer in [0, {_SEED_LIMIT})", seed)


def count_distinct(x: FloatArray) -> int:
    """Number of distinct rows of x [n, dim], 0.0 and -0.0 alike. Cost: one sort of the rows."""
    return len(np.unique(_row_bytes(x)))


def largest_group(x: FloatArray) -> int:
    """Rows in the largest group of identical rows of x [n, dim]. Cost: one sort of the rows."""
    return int(np.unique(_row_bytes(x), return_counts=True)[1].max())


def _row_bytes(x: FloatArray) -> npt.NDArray[np.void]:
    """Rows as opaque bytes, since `np.unique` by axis would compare number by number."""
    rows = np.ascontiguousarray(x + np.float32(0.0))  # -0.0 becomes 0.0
    return rows.view(np.dtype((np.void, rows.itemsize * rows.shape[1]))).ravel()


def _norms(x: FloatArray) -> npt.NDArray[np.float64]:
    wide = x.astype(np.float64)
    norms: npt.NDArray[np.float64] = np.sqrt((wide * wide).sum(axis=1))
    return norms
