"""Capacity-balanced codes: a price per centroid, so that no code is given to too many vectors."""

from __future__ import annotations

import numpy as np

from onesearch_fast.errors import invalid
from onesearch_fast.sid.nearest import FloatArray, IntArray, gap_to, largest_group, nearest
from onesearch_fast.sid.residual_kmeans import MAX_POINTS_PER_CENTROID, draw_rows

# Rounds of balanced assignment and averaging; centroids hardly move after the third.
_ROUNDS = 4
# Prices only rise, so bids end, except where groups of identical vectors cannot be packed. Hard
# mixtures of tight clusters took 26 bids a centroid at a slack of 0.1.
_MAX_BIDS_PER_CENTROID = 400
# What a bid exceeds its surplus's gap by, in parts of the mean squared distance: enough to leave
# float32 ties behind, too little to drive off a vector that may stay.
_MARGIN = 1e-4


def capacity(x: FloatArray, k: int, slack: float) -> int:
    """max(ceil((1 + slack) n / k), largest group of identical rows): rows that a code may hold."""
    return max(int(np.ceil((1 + slack) * len(x) / k)), largest_group(x))


def balance_centroids(
    x: FloatArray, centroids: FloatArray, slack: float, seed: int
) -> tuple[FloatArray, FloatArray]:
    """Centroids [k, dim] and prices [k] that give no code more than `capacity(x, k, slack)` rows.

    code(n) = argmin_c ||x_n - c||^2 + price_c, price >= 0: `nearest`, the function that encodes.
    Centroids and prices alternate on at most 256 k rows drawn by `seed`, then the prices are
    finished on all rows of x [n, dim]. Raises ValueError when groups of identical rows do not fit
    together. Cost: about as much as 10 to 30 assignments of all rows.
    """
    k = len(centroids)
    rows = draw_rows(x, MAX_POINTS_PER_CENTROID * k, seed)
    limit = capacity(rows, k, slack)
    prices = _prices(rows, centroids, np.zeros(k, np.float32), limit)
    for _ in range(_ROUNDS):
        centroids = _means(rows, nearest(rows, centroids, prices), centroids)
        prices = _prices(rows, centroids, np.zeros(k, np.float32), limit)
    prices = _prices(x, centroids, prices, capacity(x, k, slack))
    return centroids, prices


def _means(x: FloatArray, codes: IntArray, centroids: FloatArray) -> FloatArray:
    """The mean of each centroid's rows; where it stood, if it has none."""
    order = np.argsort(codes, kind="stable")
    used, first = np.unique(codes[order], return_index=True)
    means = centroids.copy()
    sums = np.add.reduceat(x[order], first, axis=0, dtype=np.float64)
    means[used] = sums / np.diff(first, append=len(x))[:, None]
    return means


def _prices(x: FloatArray, centroids: FloatArray, prices: FloatArray, limit: int) -> FloatArray:
    """Raises `prices` [k] until no code holds more than `limit` rows.

    An auction (after Bertsekas 1988) in which centroids bid for being left. The fullest one asks
    for as much as sends its surplus, the rows nearest to leaving, to centroids with room: were the
    next best meant, two full neighbours would outbid each other in tiny steps.
    """
    prices = prices.copy()
    codes = nearest(x, centroids, prices)
    margin = _MARGIN * float(np.mean(np.square(x - centroids[codes]).sum(1)))
    for _ in range(_MAX_BIDS_PER_CENTROID * len(centroids)):
        sizes = np.bincount(codes, minlength=len(centroids))
        fullest = int(sizes.argmax())
        if sizes[fullest] <= limit:
            return prices
        members = np.flatnonzero(codes == fullest)
        gaps = gap_to(x[members], centroids, prices, fullest, np.flatnonzero(sizes < limit))
        surplus = len(members) - limit
        prices[fullest] += np.partition(gaps, surplus - 1)[surplus - 1] + margin
        codes[members] = nearest(x[members], centroids, prices)
    raise invalid(
        "Codebooks.fit",
        "balance_slack",
        f"groups of identical vectors that fit into codes of {limit}",
        "some that prices cannot part",
        "allow more slack, or drop repeated items",
    )
