"""Capacity-balanced codes: a price per centroid, so that no code is given to too many vectors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from onesearch_fast.errors import invalid
from onesearch_fast.sid.nearest import (
    FloatArray,
    IntArray,
    Prices,
    group_rows,
    largest_group,
    nearest,
)
from onesearch_fast.sid.price_ascent import anneal_prices, ascend_prices
from onesearch_fast.sid.residual_kmeans import MAX_ROWS_PER_CENTROID, draw_rows, sums_by_code
from onesearch_fast.sid.transport import Costs, Transport, gather

# Rounds of balanced assignment and averaging; centroids hardly move after the third.
_ROUNDS = 4
# Part of the prices that a round begins with: those of moved centroids are too high in places.
_KEPT = 0.5
# With this many rows a code, prices climb together where bids do not even them out soon: at a
# slack of 0.02, 12 bids for each of 512 codes still left 20,000 of 100,000 rows over.
_ROWS_TO_CLIMB = 16
_BIDS_BEFORE_CLIMB = 4
# Fewer rows are cheap to bid with, and their transport is.
_BIDS_PER_CODE = 60
# What a bid exceeds its surplus's gap by, in parts of the mean squared distance: enough to leave
# near-ties behind, too little to drive off a vector that may stay.
_MARGIN = 1e-4
# How far centroids are shaken, in parts of the root of the mean squared distance.
_SHAKE = 1e-4
_LEAST_SHAKE = 1e-6  # in parts of their length: `code_residual` calls what is smaller zero


def capacity(x: FloatArray, k: int, slack: float) -> int:
    """max(ceil((1 + slack) n / k), largest group of identical rows): rows that a code may hold."""
    return max(int(np.ceil((1 + slack) * len(x) / k)), largest_group(x))


def balance_centroids(
    x: FloatArray, centroids: FloatArray, slack: float, seed: int
) -> tuple[FloatArray, Prices]:
    """Centroids [k, dim], and prices [k] that about even out rows of x [n, dim] drawn by `seed`.

    code(n) = argmin_c ||x_n - c||^2 + price_c, price >= 0: `nearest`, the function that encodes.
    Centroids and prices alternate, on distances that are kept. `raise_prices` makes prices that
    hold of these; for other rows than x, it may do so where those of x do not fit.
    """
    k = len(centroids)
    rows = draw_rows(x, MAX_ROWS_PER_CENTROID * k, seed)
    limit = capacity(rows, k, slack)
    prices = _sample_prices(rows, centroids, np.zeros(k), limit)
    for _ in range(_ROUNDS):
        sums, sizes = sums_by_code(rows, nearest(rows, centroids, prices)[:, None], k)
        used = sizes > 0
        centroids = centroids.copy()
        centroids[used] = (sums[used] / sizes[used, None]).astype(np.float32)
        prices = _sample_prices(rows, centroids, _KEPT * prices, limit)
    return _shake(centroids, rows, prices, seed), prices


def _shake(centroids: FloatArray, x: FloatArray, prices: Prices, seed: int) -> FloatArray:
    """A little off, so that rows in regular places are not equally far from two centroids.

    Of one-hot vectors, say, all that lie in no centroid are; then no prices part them.
    """
    errors = _SHAKE**2 * _mean_error(x, centroids, prices)
    least = _LEAST_SHAKE**2 * float(np.mean(np.square(centroids).sum(1)))
    scale = np.sqrt(max(errors, least) / x.shape[1])
    noise = np.random.default_rng(seed).standard_normal(centroids.shape, np.float32)
    return centroids + np.float32(scale) * noise


def raise_prices(x: FloatArray, centroids: FloatArray, prices: Prices, limit: int) -> Prices:
    """Prices [k] with which `nearest` gives no code more than `limit` rows.

    An auction that starts at `prices`, for many rows `ascend_prices` where that is not enough; what
    is left, `Transport` moves. Distinct rows always fit, groups of identical ones when `limit` is
    the mean size and the largest group at least.
    """
    # About their mean, products of vectors that differ in their last bits keep enough digits.
    mean = x.mean(axis=0, dtype=np.float64)
    wide = centroids - mean
    offsets = np.einsum("kd,kd->k", wide, wide)

    def costs(rows: npt.NDArray[np.intp]) -> npt.NDArray[np.float64]:
        found: npt.NDArray[np.float64] = offsets - 2 * ((x[rows] - mean) @ wide.T)
        return found

    def choose(rows: npt.NDArray[np.intp] | slice, with_prices: Prices) -> IntArray:
        return nearest(x[rows], centroids, with_prices)

    def fits(with_prices: Prices) -> bool:
        return bool(np.bincount(choose(slice(None), with_prices)).max() <= limit)

    margin = _MARGIN * _mean_error(x[: MAX_ROWS_PER_CENTROID * len(centroids)], centroids, prices)
    raised, done = _Auction(costs, choose, limit, margin).run(prices, _bids_per_code(x, centroids))
    if not done and _climbs(x, centroids):
        raised = ascend_prices(x, centroids, prices, limit)
        done = fits(raised)
    prices = raised
    if not done:
        prices = _transport(x, costs, choose(slice(None), prices), prices, limit)
        done = fits(prices)
    if not done:
        largest = largest_group(x)
        raise invalid(
            "Codebooks.fit",
            "balance_slack",
            f"groups of identical vectors that fit into {len(prices)} codes of {limit}",
            f"some that do not, the largest of {largest} of {len(x)} vectors",
            f"allow more slack, {largest * len(prices) / len(x):.3g} at most, "
            "or drop repeated items",
        )
    return prices


def _climbs(x: FloatArray, centroids: FloatArray) -> bool:
    return len(x) >= _ROWS_TO_CLIMB * len(centroids)


def _bids_per_code(x: FloatArray, centroids: FloatArray) -> int:
    return _BIDS_BEFORE_CLIMB if _climbs(x, centroids) else _BIDS_PER_CODE


def _transport(x: FloatArray, costs: Costs, codes: IntArray, prices: Prices, limit: int) -> Prices:
    groups = group_rows(x)
    transport = Transport(costs, codes, prices)
    # Groups are divided at first, and gathering them adds one to a code, less a row.
    room = limit - int(np.bincount(groups).max()) + 1
    transport.limit_sizes(max(room, -(-len(x) // len(prices))))
    gathered = gather(transport.codes, groups)
    return Transport(costs, gathered, transport.prices).parting_prices()


def _sample_prices(x: FloatArray, centroids: FloatArray, prices: Prices, limit: int) -> Prices:
    """About the same, by distances that are made once and in float32."""
    table = _norms(centroids) - 2 * (x @ centroids.T)

    def choose(rows: npt.NDArray[np.intp] | slice, with_prices: Prices) -> IntArray:
        paid = with_prices.astype(np.float32)
        codes: IntArray = (table[rows] + paid).argmin(axis=1).astype(np.int32)
        return codes

    margin = _MARGIN * _mean_error(x, centroids, prices)
    auction = _Auction(table.__getitem__, choose, limit, margin)
    raised, done = auction.run(prices, _bids_per_code(x, centroids))
    if done:
        return raised
    # Few rows' prices are found at the end; what is over here may be too fine for float32.
    if not _climbs(x, centroids):
        return np.zeros_like(prices)
    return anneal_prices(x, centroids, prices, limit)


def _norms(centroids: FloatArray) -> FloatArray:
    norms: FloatArray = np.einsum("kd,kd->k", centroids, centroids)
    return norms


def _mean_error(x: FloatArray, centroids: FloatArray, prices: Prices) -> float:
    gaps = x - centroids[nearest(x, centroids, prices)]
    return float(np.mean(np.square(gaps).sum(1)))


@dataclass(frozen=True)
class _Auction:
    """Rows bid with their distances, codes with their prices (after Bertsekas 1988).

    costs(rows) -> squared distances [rows, k], less what is the same for all codes;
    choose(rows, prices) -> their codes. margin: by how much a bid may exceed what it needs.
    """

    costs: Callable[[npt.NDArray[np.intp]], npt.NDArray[np.floating]]
    choose: Callable[[npt.NDArray[np.intp] | slice, Prices], IntArray]
    limit: int
    margin: float

    def run(self, prices: Prices, bids_per_code: int) -> tuple[Prices, bool]:
        """`prices` [k] raised until no code holds more than `limit` rows; whether they got there.

        The fullest code raises its price until only `limit` rows want it rather than a code with
        room: were the next best meant, two full neighbours would outbid each other in tiny steps.
        Where there is hardly any room, this may go round in circles.
        """
        prices = prices.copy()
        codes = self.choose(slice(None), prices)
        sizes = np.bincount(codes, minlength=len(prices))
        for _ in range(bids_per_code * len(prices)):
            fullest = int(sizes.argmax())
            if sizes[fullest] <= self.limit:
                return prices, True
            members = np.flatnonzero(codes == fullest)
            prices[fullest] = self._bid(members, fullest, prices, sizes < self.limit)
            codes[members] = self.choose(members, prices)
            sizes += np.bincount(codes[members], minlength=len(prices))
            sizes[fullest] -= len(members)
        return prices, False

    def _bid(
        self,
        members: npt.NDArray[np.intp],
        code: int,
        prices: Prices,
        room: npt.NDArray[np.bool_],
    ) -> float:
        """The price of `code` that leaves `limit` of its members: halfway to losing one more."""
        asked = self.costs(members)
        asked = asked + prices.astype(asked.dtype)
        gaps = -asked[:, code]
        # An infinity added to the rest takes half the time of cutting out columns.
        asked += np.where(room, 0.0, np.inf).astype(asked.dtype)
        gaps += asked.min(axis=1)
        surplus = len(members) - self.limit
        parted = np.partition(gaps, (surplus - 1, surplus))
        last, more = float(parted[surplus - 1]), float(parted[surplus])
        step = self.margin if more == last else min(self.margin, 0.5 * (more - last))
        price = float(prices[code])
        return max(price + last + step, float(np.nextafter(price, np.inf)))
