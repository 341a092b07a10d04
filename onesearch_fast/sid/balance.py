"""Capacity-balanced codes: a price per centroid, so that no code is given to too many vectors."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from onesearch_fast.errors import invalid
from onesearch_fast.sid.nearest import FloatArray, IntArray, largest_group, nearest
from onesearch_fast.sid.residual_kmeans import MAX_ROWS_PER_CENTROID, draw_rows, sums_by_code

# Rounds of balanced assignment and averaging; centroids hardly move after the third.
_ROUNDS = 4
# Part of the prices that a round begins with: those of moved centroids are too high in places.
_KEPT = np.float32(0.5)
# Prices only rise, so bids end, except where groups of identical vectors cannot be packed. Hard
# mixtures of tight clusters took 26 bids a centroid at a slack of 0.1.
_MAX_BIDS_PER_CENTROID = 400
# What a bid exceeds its surplus's gap by, in parts of the mean squared distance: enough to leave
# float32 ties behind, too little to drive off a vector that may stay.
_MARGIN = 1e-4

Costs = Callable[[npt.NDArray[np.intp]], FloatArray]


def capacity(x: FloatArray, k: int, slack: float) -> int:
    """max(ceil((1 + slack) n / k), largest group of identical rows): rows that a code may hold."""
    return max(int(np.ceil((1 + slack) * len(x) / k)), largest_group(x))


def balance_centroids(
    x: FloatArray, centroids: FloatArray, slack: float, seed: int
) -> tuple[FloatArray, FloatArray]:
    """Centroids [k, dim] and prices [k] that give no code more than `capacity(x, k, slack)` rows.

    code(n) = argmin_c ||x_n - c||^2 + price_c, price >= 0: `nearest`, the function that encodes.
    Centroids and prices alternate on rows drawn by `seed`, whose distances are kept, then
    `raise_prices` finishes on all rows of x [n, dim]. Raises ValueError when groups of identical
    rows do not fit together.
    """
    k = len(centroids)
    rows = draw_rows(x, MAX_ROWS_PER_CENTROID * k, seed)
    limit = capacity(rows, k, slack)
    prices = _sample_prices(rows, centroids, np.zeros(k, np.float32), limit)
    for _ in range(_ROUNDS):
        sums, sizes = sums_by_code(rows, nearest(rows, centroids, prices)[:, None], k)
        used = sizes > 0
        centroids = centroids.copy()
        centroids[used] = (sums[used] / sizes[used, None]).astype(np.float32)
        prices = _sample_prices(rows, centroids, _KEPT * prices, limit)
    return centroids, raise_prices(x, centroids, prices, capacity(x, k, slack))


def raise_prices(
    x: FloatArray, centroids: FloatArray, prices: FloatArray, limit: int
) -> FloatArray:
    """Prices [k], at least `prices`, with which `nearest` gives no code more than `limit` rows."""
    offsets = _norms(centroids)

    def costs(rows: npt.NDArray[np.intp]) -> FloatArray:
        return offsets - 2 * (x[rows] @ centroids.T)

    def choose(rows: npt.NDArray[np.intp] | slice, with_prices: FloatArray) -> IntArray:
        return nearest(x[rows], centroids, with_prices)

    return _auction(len(x), costs, choose, prices, limit, _margin(x, centroids, prices))


def _sample_prices(
    x: FloatArray, centroids: FloatArray, prices: FloatArray, limit: int
) -> FloatArray:
    """The same, by distances that are made once and in float32."""
    table = _norms(centroids) - 2 * (x @ centroids.T)

    def choose(rows: npt.NDArray[np.intp] | slice, with_prices: FloatArray) -> IntArray:
        codes: IntArray = (table[rows] + with_prices).argmin(axis=1).astype(np.int32)
        return codes

    margin = _margin(x, centroids, prices)
    return _auction(len(x), table.__getitem__, choose, prices, limit, margin)


def _norms(centroids: FloatArray) -> FloatArray:
    norms: FloatArray = np.einsum("kd,kd->k", centroids, centroids)
    return norms


def _margin(x: FloatArray, centroids: FloatArray, prices: FloatArray) -> float:
    rows = x[: MAX_ROWS_PER_CENTROID * len(centroids)]
    gaps = rows - centroids[nearest(rows, centroids, prices)]
    return _MARGIN * float(np.mean(np.square(gaps).sum(1)))


def _auction(
    num_rows: int,
    costs: Costs,
    choose: Callable[[npt.NDArray[np.intp] | slice, FloatArray], IntArray],
    prices: FloatArray,
    limit: int,
    margin: float,
) -> FloatArray:
    """Raises `prices` [k] until `choose` gives no code more than `limit` rows.

    An auction (after Bertsekas 1988) in which centroids bid for being left. The fullest one asks
    for as much as sends its surplus, the rows nearest to leaving, to centroids with room: were the
    next best meant, two full neighbours would outbid each other in tiny steps.
    """
    prices = prices.copy()
    codes = choose(slice(None), prices)
    sizes = np.bincount(codes, minlength=len(prices))
    for _ in range(_MAX_BIDS_PER_CENTROID * len(prices)):
        fullest = int(sizes.argmax())
        if sizes[fullest] <= limit:
            return prices
        members = np.flatnonzero(codes == fullest)
        asked = costs(members) + prices
        gaps = -asked[:, fullest]
        # An infinity added to full codes takes half the time of cutting out the columns with room.
        asked += np.where(sizes < limit, np.float32(0), np.float32(np.inf))
        gaps += asked.min(axis=1)
        surplus = len(members) - limit
        prices[fullest] += np.partition(gaps, surplus - 1)[surplus - 1] + margin
        codes[members] = choose(members, prices)
        sizes += np.bincount(codes[members], minlength=len(prices))
        sizes[fullest] -= len(members)
    raise invalid(
        "Codebooks.fit",
        "balance_slack",
        f"groups of identical vectors that fit into codes of {limit}",
        "some that prices cannot part",
        "allow more slack, or drop repeated items",
    )
