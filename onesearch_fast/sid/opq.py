"""Fits optimised product quantisation: a rotation, and one codebook for each slice of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from onesearch_fast.errors import invalid
from onesearch_fast.sid.nearest import FloatArray, nearest
from onesearch_fast.sid.residual_kmeans import (
    MAX_POINTS_PER_CENTROID,
    check_distinct,
    draw_rows,
    lloyd,
    use_every_centroid,
)

# Lloyd rounds between two rotations; the codebooks go on from where they stood.
_ROUNDS_PER_ROTATION = 1


def fit_opq(x: FloatArray, sizes: Sequence[int], seed: int, iterations: int) -> list[FloatArray]:
    """min over R orthogonal, codebooks C_m of sum_n || x_n R - [C_1[i_n1] | ... | C_M[i_nM]] ||^2.

    x [n, dim] -> for each sub-vector m its codewords turned back into the space of x, that is
    C_m R_m^T [sizes[m], dim], R_m the columns of slice m. R is orthogonal, so the nearest of them
    to x is the nearest of C_m to slice m of x R: encoding needs no rotation, and all codes follow
    the one rule of `nearest`. Sizes and slices may be unequal.

    Ge, He, Ke, Sun 2013: R starts from the eigenvectors, dealt out so that the slices share the
    variance; then R (orthogonal Procrustes) and the codebooks are improved in turn.
    """
    for size in sizes:
        check_distinct(x, size, "opq")
    if len(sizes) > x.shape[1]:
        raise invalid("Codebooks.fit", "opq", f"at most {x.shape[1]} sub-vectors", len(sizes))
    sample = draw_rows(x, MAX_POINTS_PER_CENTROID * max(sizes), seed)
    slices = np.array_split(np.arange(x.shape[1]), len(sizes))
    rotation = _deal_out_eigenvectors(sample, [len(part) for part in slices])
    parts = [sample @ rotation[:, part] for part in slices]
    codebooks = [
        lloyd(part, size, seed, iterations) for part, size in zip(parts, sizes, strict=True)
    ]
    for _ in range(iterations):
        rotation = _procrustes(sample, _reconstruct(parts, codebooks))
        parts = [sample @ rotation[:, part] for part in slices]
        codebooks = [
            lloyd(part, len(codebook), seed, _ROUNDS_PER_ROTATION, codebook)
            for part, codebook in zip(parts, codebooks, strict=True)
        ]
    return [
        use_every_centroid(x @ rotation[:, part], codebook) @ rotation[:, part].T
        for part, codebook in zip(slices, codebooks, strict=True)
    ]


def _deal_out_eigenvectors(x: FloatArray, widths: Sequence[int]) -> FloatArray:
    """Rotation [dim, dim] by eigenvalue allocation (the same paper).

    Each eigenvector of the covariance, by falling variance, goes to the slice with room whose
    product of variances is least.
    """
    centred = x.astype(np.float64) - x.mean(axis=0, dtype=np.float64)
    variances, vectors = np.linalg.eigh(centred.T @ centred)
    dealt: list[list[int]] = [[] for _ in widths]
    log_products = np.zeros(len(widths))
    for axis in np.argsort(-variances, kind="stable"):
        full = [len(axes) >= width for axes, width in zip(dealt, widths, strict=True)]
        target = int(np.where(full, np.inf, log_products).argmin())
        dealt[target].append(int(axis))
        log_products[target] += np.log(max(variances[axis], 1e-12 * variances.max(), 1e-300))
    order = [axis for axes in dealt for axis in axes]
    return np.ascontiguousarray(vectors[:, order], np.float32)


def _reconstruct(parts: Sequence[FloatArray], codebooks: Sequence[FloatArray]) -> FloatArray:
    return np.hstack([book[nearest(x, book)] for x, book in zip(parts, codebooks, strict=True)])


def _procrustes(x: FloatArray, target: FloatArray) -> FloatArray:
    """argmin over orthogonal R of ||x R - target||^2 = U V^T of the SVD of x^T target."""
    product: npt.NDArray[np.float64] = x.T.astype(np.float64) @ target.astype(np.float64)
    left, _, right = np.linalg.svd(product)
    return np.ascontiguousarray(left @ right, np.float32)
