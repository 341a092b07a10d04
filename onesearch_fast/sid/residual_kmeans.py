"""Fits centroids: Lloyd's iterations, then no centroid is left without a vector."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from onesearch_fast.errors import invalid
from onesearch_fast.sid.nearest import FloatArray, IntArray, count_distinct, nearest

# More rows a centroid cost time and move the centroids very little.
MAX_ROWS_PER_CENTROID = 128
# Iterations end when one lowers the error by less than this part.
_LEAST_GAIN = 1e-4
# Rows that are summed, or compared softly, at a time.
_BLOCK_ROWS = 1 << 14
# Soft updates, after PRQ: a row pulls on its nearest centroids by softmax(-beta distance^2).
_SOFT_CENTROIDS = 5
_SOFT_BETA = 15.0


@dataclass(frozen=True)
class KMeans:
    """How centroids are found.

    iterations: at most; Lloyd's end sooner when they gain little. soft: rows pull on their five
    nearest centroids instead of one. batch_rows: rows drawn anew for each iteration (mini-batch,
    Sculley 2010), None: all. device: where rows meet centroids; it changes no bit.
    """

    seed: int
    iterations: int
    soft: bool = False
    batch_rows: int | None = None
    device: str = "cpu"

    def fit(
        self, x: FloatArray, k: int, argument: str, start: FloatArray | None = None
    ) -> FloatArray:
        """k centroids of x [n, dim] -> [k, dim]; every one is the nearest of some row.

        At most `MAX_ROWS_PER_CENTROID` rows a centroid, drawn by `seed`, enter the iterations,
        which begin at `start` [k, dim], or at some of these rows.
        Raises ValueError, naming `argument`, when x has fewer than k distinct rows. Equal seeds
        give equal bits, whatever the threads and the device.
        """
        check_distinct(x, k, argument)
        rows = draw_rows(x, MAX_ROWS_PER_CENTROID * k, self.seed)
        start = self.start(rows, k) if start is None else start
        return use_every_centroid(x, self.improve(rows, start), self.device)

    def start(self, x: FloatArray, k: int) -> FloatArray:
        """k rows of x, drawn by `seed`."""
        return x[np.random.default_rng(self.seed).choice(len(x), k, replace=False)].copy()

    def improve(self, x: FloatArray, centroids: FloatArray) -> FloatArray:
        """Lloyd's iterations (Lloyd 1982) on x [n, dim], from `centroids` [k, dim]."""
        if self.batch_rows is not None and self.batch_rows < len(x):
            return self._improve_by_batches(x, centroids, self.batch_rows)
        total = float(np.vdot(x, x))
        error = np.inf
        for _ in range(self.iterations):
            sums, weights = self._pull(x, centroids)
            if not weights.all():
                centroids = use_every_centroid(x, centroids, self.device, rounds=1)
                sums, weights = self._pull(x, centroids)
            new = _averages(sums, weights, centroids)
            # sum ||x - mean||^2 = sum ||x||^2 - weight ||mean||^2, without another pass.
            explained = float(weights @ np.square(new, dtype=np.float64).sum(axis=1))
            centroids, before, error = new, error, total - explained
            if before - error <= _LEAST_GAIN * error:
                break
        return centroids

    def _improve_by_batches(
        self, x: FloatArray, centroids: FloatArray, batch_rows: int
    ) -> FloatArray:
        """Each centroid is the mean of all rows that ever chose it."""
        random = np.random.default_rng(self.seed)
        sums = np.zeros(centroids.shape)
        weights = np.zeros(len(centroids))
        for _ in range(self.iterations):
            batch = x[np.sort(random.choice(len(x), batch_rows, replace=False))]
            more, heavier = self._pull(batch, centroids)
            sums, weights = sums + more, weights + heavier
            centroids = _averages(sums, weights, centroids)
        return centroids

    def _pull(
        self, x: FloatArray, centroids: FloatArray
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        if self.soft:
            return _soft_sums(x, centroids)
        return sums_by_code(x, nearest(x, centroids, device=self.device)[:, None], len(centroids))


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


def sums_by_code(
    x: FloatArray, codes: IntArray, k: int, shares: npt.NDArray[np.float64] | None = None
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Weighted sums [k, dim] and weights [k] of the rows of x [n, dim] that have each code.

    codes [n, m]: a row may have several, in parts `shares` [n, m] (None: 1 each). In float64, row
    after row, so that nothing but the input decides a bit.
    """
    from scipy.sparse import csr_array

    sums = np.zeros((k, x.shape[1]))
    weights = np.zeros(k)
    shares = np.ones(codes.shape) if shares is None else shares
    for begin in range(0, len(x), _BLOCK_ROWS):
        rows = slice(begin, begin + _BLOCK_ROWS)
        ends = np.arange(len(codes[rows]) + 1) * codes.shape[1]
        of_code = csr_array(
            (shares[rows].ravel(), codes[rows].ravel(), ends), (len(codes[rows]), k)
        ).T
        sums += of_code @ x[rows].astype(np.float64)
        weights += of_code.sum(axis=1)
    return sums, weights


def _soft_sums(
    x: FloatArray, centroids: FloatArray
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    count = min(_SOFT_CENTROIDS, len(centroids))
    codes = np.empty((len(x), count), np.int32)
    shares = np.empty((len(x), count))
    table = torch.from_numpy(centroids)
    norms = table.square().sum(1)
    for begin in range(0, len(x), _BLOCK_ROWS):
        rows = torch.from_numpy(x[begin : begin + _BLOCK_ROWS])
        costs, near = (norms - 2 * (rows @ table.T)).topk(count, dim=1, largest=False)
        codes[begin : begin + _BLOCK_ROWS] = near.numpy()
        shares[begin : begin + _BLOCK_ROWS] = (-_SOFT_BETA * costs.double()).softmax(1).numpy()
    return sums_by_code(x, codes, len(centroids), shares)


def _averages(
    sums: npt.NDArray[np.float64], weights: npt.NDArray[np.float64], otherwise: FloatArray
) -> FloatArray:
    """sums / weights; where nothing was summed, the rows of `otherwise`."""
    means = sums / np.where(weights > 0, weights, 1.0)[:, None]
    return np.where(weights[:, None] > 0, means, otherwise).astype(np.float32)


def use_every_centroid(
    x: FloatArray, centroids: FloatArray, device: str = "cpu", rounds: int | None = None
) -> FloatArray:
    """Moves each centroid that is nearest to no row onto a row badly served by its own.

    Ends after so many `rounds`, when every centroid is used, or when every row lies on one and
    nothing can be gained.
    """
    centroids = centroids.copy()
    while rounds != 0:
        rounds = None if rounds is None else rounds - 1
        codes = nearest(x, centroids, device=device)
        unused = np.flatnonzero(np.bincount(codes, minlength=len(centroids)) == 0)
        if len(unused) == 0:
            break
        gaps = x - centroids[codes]
        errors = np.einsum("nd,nd->n", gaps, gaps, dtype=np.float64)
        if not errors.any():
            break
        rows = _worst_distinct(x, errors, len(unused))
        centroids[unused[: len(rows)]] = x[rows]
    return centroids


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
