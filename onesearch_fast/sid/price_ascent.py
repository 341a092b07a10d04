"""Prices that share many rows out among codes: Newton's method on the transportation dual."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from onesearch_fast.sid.nearest import FloatArray, Prices, nearest
from onesearch_fast.sid.residual_kmeans import MAX_ROWS_PER_CENTROID, draw_rows

Array = npt.NDArray[np.float64]

# Enough for prices that centroids will be averaged by.
_ROWS_PER_CODE = 32
# Rows whose costs are held at a time.
_BLOCK_ROWS = 1 << 13
# The first temperature in parts of the mean cost above a row's least, and what the next keeps.
_HOT = 0.25
_COOLING = 0.25
_COOLINGS = 12
_LEAST_TEMPERATURE = 1e-30  # its inverse is still far from the largest float32
# A temperature is low enough from this mean of rows' largest shares on; prices that are about
# right already are improved from the lower one on.
_SHARP = 0.9
_WARM = 0.75
# Surplus that is good enough while smoothed, in parts of the rows: the next temperature moves more.
_TOLERANCE = 0.02
_STEPS = 20
_DAMPING = 1e-2
_LEAST_DAMPING = 1e-6
_MOST_DAMPING = 1e6


def anneal_prices(x: FloatArray, centroids: FloatArray, prices: Prices, limit: float) -> Prices:
    """Prices [k], from `prices`, under which codes hold about `limit` rows of x [n, dim] at most.

    max_{p >= 0} sum_n min_c(||x_n - C_c||^2 + p_c) - limit sum_c p_c, the dual of the
    transportation problem, with the minimum smoothed at falling temperatures (Cuturi 2013). Its
    slope is the codes' surplus; its curvature is a graph of codes that share rows, so that a step
    by Newton's method moves whole neighbourhoods: raised one by one, they outbid each other.
    Of x, 32 rows a code are looked at: m of them cost about 20 steps of m k^2 + k^3 multiply-adds.
    """
    sample = draw_rows(x, _ROWS_PER_CODE * len(centroids), 0)
    share = len(sample) / len(x)
    return _anneal(_cost_table(sample, centroids), prices, limit * share)[0]


def ascend_prices(x: FloatArray, centroids: FloatArray, prices: Prices, limit: int) -> Prices:
    """As `anneal_prices` on more rows, then by the sizes that `nearest` gives all of x.

    What codes then hold too many of is a small part of their room, or of vectors near a tie.
    Needs up to 1,024 k^2 bytes.
    """
    sample = draw_rows(x, MAX_ROWS_PER_CENTROID * len(centroids), 0)
    scale = len(x) / len(sample)
    prices, soft = _anneal(_cost_table(sample, centroids), prices, limit / scale)

    def measure(tried: Prices) -> tuple[float, Array]:
        codes = nearest(x, centroids, tried)
        sizes = np.bincount(codes, minlength=len(tried))
        cost = sum(
            float(np.square(x[rows] - centroids[codes[rows]]).sum(dtype=np.float64))
            for rows in _blocks(len(x))
        )
        return cost + float(sizes @ tried), sizes.astype(np.float64)

    def curvature(tried: Prices) -> Array:
        return scale * soft.curvature(tried)

    return _climb(_Dual(measure, curvature, limit, soft.reach), prices, enough=0)


@dataclass(frozen=True)
class _Dual:
    """What is climbed, less limit sum_c p_c: prices -> value and sizes of codes; -> curvature.

    reach: no price needs to move farther in one step.
    """

    measure: Callable[[Prices], tuple[float, Array]]
    curvature: Callable[[Prices], Array]
    limit: float
    reach: float


@dataclass(frozen=True)
class _Softmin:
    """-t log sum_c exp(-(cost_nc + p_c) / t), summed over rows: the least cost as t falls to 0."""

    costs: FloatArray
    temperature: float

    @property
    def reach(self) -> float:
        """The largest of the costs, which are 0 at least."""
        return float(self.costs.max())

    def measure(self, prices: Prices) -> tuple[float, Array]:
        """Its value, and its derivative by the prices, which is the sizes of the codes [k]."""
        shares, least, total = self._shares(prices)
        value = (least - self.temperature * np.log(total)).sum(dtype=np.float64)
        return float(value), shares.sum(axis=0, dtype=np.float64)

    def curvature(self, prices: Prices) -> Array:
        """Less its second derivative [k, k]."""
        shares = self._shares(prices)[0]
        together = (shares.T @ shares).astype(np.float64)
        return (np.diag(shares.sum(axis=0, dtype=np.float64)) - together) / self.temperature

    def sharpness(self, prices: Prices) -> float:
        """Mean of rows' largest share: 1 where each row has one code."""
        return float(self._shares(prices)[0].max(axis=1).mean())

    def _shares(self, prices: Prices) -> tuple[FloatArray, FloatArray, FloatArray]:
        shares = self.costs + prices.astype(np.float32)
        least = shares.min(axis=1)
        shares -= least[:, None]
        shares *= np.float32(-1 / self.temperature)
        np.exp(shares, out=shares)
        total = shares.sum(axis=1)
        shares /= total[:, None]
        return shares, least, total


def _anneal(costs: FloatArray, prices: Prices, limit: float) -> tuple[Prices, _Softmin]:
    """The prices, and the minimum as smooth as it was last."""
    temperatures = _HOT * float(costs.mean(dtype=np.float64)) * _COOLING ** np.arange(_COOLINGS)
    warm = bool(prices.any())
    enough = _TOLERANCE * len(costs)
    for temperature in np.maximum(temperatures, _LEAST_TEMPERATURE):
        soft = _Softmin(costs, float(temperature))
        if warm and soft.sharpness(prices) < _WARM:
            continue
        prices = _climb(_Dual(soft.measure, soft.curvature, limit, soft.reach), prices, enough)
        if soft.sharpness(prices) >= _SHARP:
            break
    return prices, soft


def _climb(dual: _Dual, prices: Prices, enough: float) -> Prices:
    """Damped Newton steps until codes hold no more than `enough` rows above the limit together."""
    least, sizes = dual.measure(prices)
    value = least - dual.limit * prices.sum()
    damping = _DAMPING
    for _ in range(_STEPS):
        slope = sizes - dual.limit
        if np.maximum(slope, 0.0).sum() <= enough:
            break
        bend = dual.curvature(prices)
        free = np.flatnonzero((prices > 0) | (slope > 0))
        while damping <= _MOST_DAMPING:
            step = np.clip(_newton_step(bend, slope, free, damping), -dual.reach, dual.reach)
            tried = np.maximum(prices + step, 0.0)
            least, sizes = dual.measure(tried)
            higher = least - dual.limit * tried.sum()
            if higher > value:
                break
            damping *= 10
        else:
            break
        prices, value, damping = tried, higher, max(0.1 * damping, _LEAST_DAMPING)
    return prices


def _newton_step(bend: Array, slope: Array, free: npt.NDArray[np.intp], damping: float) -> Array:
    """Of the codes `free` [m], whose price may change; damped in parts of the mean curvature."""
    step = np.zeros(len(slope))
    own = bend[np.ix_(free, free)]
    scale = np.trace(own) / len(own) + np.finfo(np.float32).tiny
    step[free] = np.linalg.solve(own + damping * scale * np.eye(len(own)), slope[free])
    return step


def _cost_table(x: FloatArray, centroids: FloatArray) -> FloatArray:
    """||x_n - C_c||^2 less each row's least, [n, k]: made in float64, so that near-ties last."""
    mean = x.mean(axis=0, dtype=np.float64)
    wide = centroids - mean
    lengths = np.einsum("kd,kd->k", wide, wide)
    table = np.empty((len(x), len(centroids)), np.float32)
    for rows in _blocks(len(x)):
        costs = lengths - 2 * ((x[rows] - mean) @ wide.T)
        table[rows] = costs - costs.min(axis=1, keepdims=True)
    return table


def _blocks(num_rows: int) -> list[slice]:
    return [slice(begin, begin + _BLOCK_ROWS) for begin in range(0, num_rows, _BLOCK_ROWS)]
