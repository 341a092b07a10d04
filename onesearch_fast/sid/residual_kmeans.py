"""Fits centroids: k-means by faiss, then no centroid is left without a vector."""

from __future__ import annotations

import faiss
import numpy as np

from onesearch_fast.errors import invalid
from onesearch_fast.sid.nearest import FloatArray, count_distinct, nearest

# As faiss's default: more points per centroid cost time and move the centroids very little.
MAX_POINTS_PER_CENTROID = 256


def fit_centroids(x: FloatArray, k: int, seed: int, iterations: int, argument: str) -> FloatArray:
    """k centroids of x [n, dim] by Lloyd's iterations (Lloyd 1982) from random rows -> [k, dim].

    At most 256 k rows, drawn by `seed`, enter the iterations; every centroid is then the nearest of
    at least one row of x. Raises ValueError, naming `argument`, when x has fewer than k distinct
    rows. Equal seeds give equal bits under one thread.
    """
    check_distinct(x, k, argument)
    return use_every_centroid(x, lloyd(x, k, seed, iterations))


def check_distinct(x: FloatArray, k: int, argument: str) -> None:
    """Raises ValueError when x [n, dim] has fewer than k distinct rows."""
    distinct = count_distinct(x)
    if distinct < k:
        raise invalid(
            "Codebooks.fit",
            argument,
            f"at most {distinct} codes, since this level sees {distinct} distinct vectors",
            k,
            f"the largest usable size is {distinct}; suggest_level_sizes gives smaller ones",
        )


def lloyd(
    x: FloatArray, k: int, seed: int, iterations: int, initial: FloatArray | None = None
) -> FloatArray:
    """Lloyd's iterations by faiss, from `initial` [k, dim] or from random rows -> [k, dim]."""
    kmeans = faiss.Kmeans(
        x.shape[1],
        k,
        niter=iterations,
        seed=seed,
        min_points_per_centroid=1,
        max_points_per_centroid=MAX_POINTS_PER_CENTROID,
    )
    kmeans.train(np.ascontiguousarray(x), init_centroids=initial)
    return np.array(kmeans.centroids, np.float32)


def use_every_centroid(x: FloatArray, centroids: FloatArray) -> FloatArray:
    """Moves each centroid that is nearest to no row onto a row badly served by its own.

    Ends when every centroid is used, or when every row lies on one and nothing can be gained.
    """
    centroids = centroids.copy()
    while True:
        codes = nearest(x, centroids)
        unused = np.flatnonzero(np.bincount(codes, minlength=len(centroids)) == 0)
        gaps = x - centroids[codes]
        errors = np.einsum("nd,nd->n", gaps, gaps, dtype=np.float64)
        if len(unused) == 0 or not errors.any():
            return centroids
        rows = _worst_distinct(x, errors, len(unused))
        centroids[unused[: len(rows)]] = x[rows]


def _worst_distinct(x: FloatArray, errors: np.ndarray, limit: int) -> np.ndarray:
    """Up to `limit` rows with the largest errors above 0, no two alike, worst first."""
    worst = np.argsort(-errors, kind="stable")[: 8 * limit]
    worst = worst[errors[worst] > 0]
    _, first = np.unique(x[worst], axis=0, return_index=True)
    return worst[np.sort(first)][:limit]


def draw_rows(x: FloatArray, limit: int, seed: int) -> FloatArray:
    """At most `limit` rows of x, drawn by `seed`, in their order."""
    if len(x) <= limit:
        return x
    return x[np.sort(np.random.default_rng(seed).choice(len(x), limit, replace=False))]
