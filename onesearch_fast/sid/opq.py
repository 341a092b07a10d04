"""Fits optimised product quantisation: a rotation, and one codebook for each slice of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from onesearch_fast.errors import invalid
from onesearch_fast.sid.nearest import FloatArray, IntArray, nearest
from onesearch_fast.sid.residual_kmeans import (
    MAX_ROWS_PER_CENTROID,
    KMeans,
    check_distinct,
    draw_rows,
    sums_by_code,
    use_every_centroid,
)

# Lloyd rounds between two rotations; the codebooks go on from where they stood.
_ROUNDS_PER_ROTATION = 1
# Weight of the scatter of all vectors beside that within SIDs, where the latter says nothing; and
# the part of a table's extent below which it does not extend at all.
_LITTLE = 1e-3


def fit_opq(x: FloatArray, sizes: Sequence[int], kmeans: KMeans) -> list[FloatArray]:
    """min over R orthogonal, codebooks C_m of sum_n || x_n R - [C_1[i_n1] | ... | C_M[i_nM]] ||^2.

    x [n, dim] -> for each sub-vector m its codewords turned back into the space of x, that is
    C_m R_m^T [sizes[m], dim], R_m the columns of slice m. R is orthogonal, so the nearest of them
    to x is the nearest of C_m to slice m of x R: encoding needs no rotation, and all codes follow
    the one rule of `nearest`. Sizes and slices may be unequal.

    Ge, He, Ke, Sun 2013: R starts from the eigenvectors, dealt out so that the slices share the
    variance; then R (orthogonal Procrustes) and the codebooks are improved in turn.
    """
    check_distinct(x, max(sizes), "opq")
    if len(sizes) > x.shape[1]:
        raise invalid("Codebooks.fit", "opq", f"at most {x.shape[1]} sub-vectors", len(sizes))
    sample = draw_rows(x, MAX_ROWS_PER_CENTROID * max(sizes), kmeans.seed)
    slices = np.array_split(np.arange(x.shape[1]), len(sizes))
    rotation = _deal_out_eigenvectors(sample, [len(part) for part in slices])
    parts = [sample @ rotation[:, part] for part in slices]
    codebooks = [
        kmeans.improve(part, kmeans.start(part, size))
        for part, size in zip(parts, sizes, strict=True)
    ]
    further = replace(kmeans, iterations=_ROUNDS_PER_ROTATION, batch_rows=None)
    for _ in range(kmeans.iterations):
        rotation = _procrustes(sample, _reconstruct(parts, codebooks))
        parts = [sample @ rotation[:, part] for part in slices]
        codebooks = [further.improve(*pair) for pair in zip(parts, codebooks, strict=True)]
    return [
        use_every_centroid(x @ rotation[:, part], codebook, kmeans.device) @ rotation[:, part].T
        for part, codebook in zip(slices, codebooks, strict=True)
    ]


def improve_opq(x: FloatArray, tables: Sequence[FloatArray], kmeans: KMeans) -> list[FloatArray]:
    """Lloyd's iterations on x [n, dim] from the tables of `fit_opq`, in the subspaces they have."""
    check_distinct(x, max(map(len, tables)), "opq")
    improved = []
    for table in tables:
        _, lengths, axes = np.linalg.svd(table, full_matrices=False)
        onto = np.ascontiguousarray(axes[lengths > _LITTLE * lengths.max(initial=0.0)].T)
        part = x @ onto
        rows = draw_rows(part, MAX_ROWS_PER_CENTROID * len(table), kmeans.seed)
        centroids = kmeans.improve(rows, table @ onto)
        improved.append(use_every_centroid(part, centroids, kmeans.device) @ onto.T)
    return improved


def parting_directions(x: FloatArray, codes: IntArray, count: int) -> FloatArray:
    """The `count` orthonormal directions [dim, count] in which vectors of one SID differ most.

    x [n, dim] is what the levels of `codes` [n, level] left: the leading eigenvectors of its
    scatter around the mean of each SID. Codes of the part of x along a few of them tell apart what
    all levels before could not; along all `dim` they describe x best.
    """
    _, group = np.unique(codes, axis=0, return_inverse=True)
    group = group.ravel()
    sums, sizes = sums_by_code(x, group[:, None].astype(np.int32), int(group.max()) + 1)
    apart = x - (sums / sizes[:, None]).astype(np.float32)[group]
    scatter = _scatter(apart) + _LITTLE * _scatter(x)
    return np.ascontiguousarray(np.linalg.eigh(scatter)[1][:, ::-1][:, :count], np.float32)


def _scatter(x: FloatArray) -> npt.NDArray[np.float64]:
    """Second moments [dim, dim] around the mean."""
    mean = x.mean(axis=0, dtype=np.float64)
    scatter: npt.NDArray[np.float64] = _product(x, x) / len(x) - np.outer(mean, mean)
    return scatter


def _product(x: FloatArray, y: FloatArray) -> npt.NDArray[np.float64]:
    """x^T y in float64, by blocks: neither is copied whole."""
    total = np.zeros((x.shape[1], y.shape[1]))
    for begin in range(0, len(x), 1 << 14):
        rows = slice(begin, begin + (1 << 14))
        total += x[rows].T.astype(np.float64) @ y[rows].astype(np.float64)
    return total


def _deal_out_eigenvectors(x: FloatArray, widths: Sequence[int]) -> FloatArray:
    """Rotation [dim, dim] by eigenvalue allocation (the same paper).

    Each eigenvector of the covariance, by falling variance, goes to the slice with room whose
    product of variances is least.
    """
    variances, vectors = np.linalg.eigh(_scatter(x))
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
    left, _, right = np.linalg.svd(_product(x, target))
    return np.ascontiguousarray(left @ right, np.float32)
