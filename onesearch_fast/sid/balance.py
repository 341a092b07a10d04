"""Capacity-balanced codes: a price per centroid, so that no code is given to too many vectors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from onesearch_fast.errors import invalid
from onesearch_fast.sid.nearest import FloatArray, IntArray, largest_group, nearest
from onesearch_fast.sid.residual_kmeans import MAX_ROWS_PER_CENTROID, draw_rows, sums_by_code

# Rounds of balanced assignment and averaging; centroids hardly move after the third.
_ROUNDS = 4
# Part of the prices that a round begins with: those of moved centroids are too high in places.
_KEPT = np.float32(0.5)
# Hard mixtures of tight clusters took 26 fast bids a code at a slack of 0.1.
_FAST_BIDS_PER_CODE = 60
_SURE_BIDS_PER_CODE = 50
_MAX_SURE_BIDS = 10_000  # beside those, and no more than twice the rows
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
    wide = centroids.astype(np.float64)
    offsets = np.einsum("kd,kd->k", wide, wide)

    def costs(rows: npt.NDArray[np.intp]) -> FloatArray:
        found: FloatArray = offsets - 2 * (x[rows].astype(np.float64) @ wide.T)
        return found

    def choose(rows: npt.NDArray[np.intp] | slice, with_prices: FloatArray) -> IntArray:
        return nearest(x[rows], centroids, with_prices)

    auction = _Auction(len(x), costs, choose, limit, _margin(x, centroids, prices))
    prices, done = auction.run(prices)
    if not done:
        raise invalid(
            "Codebooks.fit",
            "balance_slack",
            f"groups of identical vectors that fit into codes of {limit}",
            "some that prices cannot part",
            f"allow more slack, {largest_group(x) * len(prices) / len(x):.3g} at most, "
            "or drop repeated items",
        )
    return prices


def _sample_prices(
    x: FloatArray, centroids: FloatArray, prices: FloatArray, limit: int
) -> FloatArray:
    """The same by distances that are made once and in float32; 0 where those are too coarse."""
    table = _norms(centroids) - 2 * (x @ centroids.T)

    def choose(rows: npt.NDArray[np.intp] | slice, with_prices: FloatArray) -> IntArray:
        codes: IntArray = (table[rows] + with_prices).argmin(axis=1).astype(np.int32)
        return codes

    margin = _margin(x, centroids, prices)
    raised, done = _Auction(len(x), table.__getitem__, choose, limit, margin).run(prices)
    return raised if done else np.zeros_like(prices)


def _norms(centroids: FloatArray) -> FloatArray:
    norms: FloatArray = np.einsum("kd,kd->k", centroids, centroids)
    return norms


def _margin(x: FloatArray, centroids: FloatArray, prices: FloatArray) -> float:
    rows = x[: MAX_ROWS_PER_CENTROID * len(centroids)]
    gaps = rows - centroids[nearest(rows, centroids, prices)]
    return _MARGIN * float(np.mean(np.square(gaps).sum(1)))


@dataclass(frozen=True)
class _Auction:
    """Rows bid with their distances, codes with their prices (after Bertsekas 1988).

    costs(rows) -> squared distances [rows, k], less what is the same for all codes;
    choose(rows, prices) -> their codes. margin: by how much a bid may exceed what it needs.
    """

    num_rows: int
    costs: Costs
    choose: Callable[[npt.NDArray[np.intp] | slice, FloatArray], IntArray]
    limit: int
    margin: float

    def run(self, prices: FloatArray) -> tuple[FloatArray, bool]:
        """`prices` [k] raised until no code holds more than `limit` rows; whether they got there.

        The fullest code raises its price until only `limit` rows want it. First it bids against
        codes with room alone: were the next best meant, two full neighbours would outbid each other
        in tiny steps. That is fast but may go round in circles where there is hardly any room. Then
        it bids against the next best: a code that has bid stays at `limit` or more, so one never
        bids, which bounds all prices and ends it, unless rows that are alike move in groups.
        """
        fast = _FAST_BIDS_PER_CODE * len(prices)
        raised, done = self._bid_all(prices, fast, against_room=True)
        if not done:
            more = min(2 * self.num_rows, _MAX_SURE_BIDS)
            most = _SURE_BIDS_PER_CODE * len(prices) + more
            raised, done = self._bid_all(prices, most, against_room=False)
        return raised, done

    def _bid_all(
        self, prices: FloatArray, most: int, against_room: bool
    ) -> tuple[FloatArray, bool]:
        prices = prices.copy()
        codes = self.choose(slice(None), prices)
        sizes = np.bincount(codes, minlength=len(prices))
        for _ in range(most):
            fullest = int(sizes.argmax())
            if sizes[fullest] <= self.limit:
                return prices, True
            members = np.flatnonzero(codes == fullest)
            others = sizes < self.limit if against_room else np.ones(len(prices), bool)
            prices[fullest] = self._bid(members, fullest, prices, others)
            codes[members] = self.choose(members, prices)
            sizes += np.bincount(codes[members], minlength=len(prices))
            sizes[fullest] -= len(members)
        return prices, False

    def _bid(
        self,
        members: npt.NDArray[np.intp],
        code: int,
        prices: FloatArray,
        others: npt.NDArray[np.bool_],
    ) -> np.float32:
        """The price of `code` that leaves `limit` of its members: halfway to losing one more."""
        asked = self.costs(members) + prices
        gaps = -asked[:, code]
        # An infinity added to the rest takes half the time of cutting out columns.
        asked += np.where(others, np.float32(0), np.float32(np.inf))
        asked[:, code] = np.inf
        gaps += asked.min(axis=1)
        surplus = len(members) - self.limit
        parted = np.partition(gaps, (surplus - 1, surplus))
        last, more = float(parted[surplus - 1]), float(parted[surplus])
        step = self.margin if more == last else min(self.margin, 0.5 * (more - last))
        raised = np.float32(prices[code] + last + step)
        return max(raised, np.nextafter(prices[code], np.float32(np.inf)))
