"""The one assignment rule of fitting and encoding: which centroid is nearest to a vector."""

from __future__ import annotations

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


def nearest(x: FloatArray, centroids: FloatArray) -> IntArray:
    """argmin_c ||x_n - centroids_c||^2, ties to the lower c: x [n, dim], centroids [k, dim] -> [n].

    The same bits of a row give the same code in any batch. Float32 products differ in their last
    bits between batch sizes, so every centroid within a relative gap of 1e-5 of the best (more
    where `dim` widens the float32 bound) is measured again in float64, summed in a fixed order.
    Cost: n k dim multiply-adds.
    """
    norms = np.einsum("kd,kd->k", centroids, centroids)
    tolerance = max(1e-5, 4 * centroids.shape[1] * _UNIT_ROUNDOFF)
    codes = np.empty(len(x), np.int32)
    step = max(1, _BLOCK_ENTRIES // len(centroids))
    for begin in range(0, len(x), step):
        rows = slice(begin, begin + step)
        codes[rows] = _nearest_block(x[rows], centroids, norms, tolerance)
    return codes


def _nearest_block(
    x: FloatArray, centroids: FloatArray, norms: FloatArray, tolerance: float
) -> IntArray:
    distances = x @ centroids.T
    distances *= -2.0
    distances += norms  # ||x||^2 is left out: it is the same for every centroid.
    codes: IntArray = distances.argmin(axis=1).astype(np.int32)
    best = distances[np.arange(len(x)), codes]
    scale = np.einsum("nd,nd->n", x, x) + norms[codes]
    close = distances <= (best + tolerance * scale)[:, None]
    for row in np.flatnonzero(np.count_nonzero(close, axis=1) > 1):
        codes[row] = _nearest_exact(x[row], centroids, np.flatnonzero(close[row]))
    return codes


def _nearest_exact(x: FloatArray, centroids: FloatArray, candidates: npt.NDArray[np.intp]) -> int:
    gaps = centroids[candidates].astype(np.float64) - x
    return int(candidates[(gaps * gaps).sum(axis=1).argmin()])


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
    rows = np.ascontiguousarray(x + np.float32(0.0))  # -0.0 becomes 0.0
    # As opaque bytes: `np.unique` by axis would compare number by number.
    return len(np.unique(rows.view(np.dtype((np.void, rows.itemsize * rows.shape[1])))))


def _norms(x: FloatArray) -> npt.NDArray[np.float64]:
    wide = x.astype(np.float64)
    norms: npt.NDArray[np.float64] = np.sqrt((wide * wide).sum(axis=1))
    return norms
