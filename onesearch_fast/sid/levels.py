"""One level of a codebook: from what the levels before left to a code, and to what it leaves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from onesearch_fast.sid.nearest import FloatArray, IntArray, Prices, nearest, residual


@dataclass(frozen=True, eq=False)
class Level:
    """A table of centroids and what their codes cost.

    centroids: float32 [k, dim]. prices: float64 [k], or [first code, k] when a code's price depends
    on the first code of the SID; None when all are free. project: the level leaves what is across
    the chosen centroid, instead of subtracting it.
    """

    centroids: FloatArray
    prices: Prices | None = None
    project: bool = False

    @property
    def size(self) -> int:
        return len(self.centroids)

    def encode(self, rest: FloatArray, first: IntArray | None, device: str = "cpu") -> IntArray:
        """rest [n, dim] and first codes [n] -> codes int32 [n]."""
        groups = first if self.prices is not None and self.prices.ndim == 2 else None
        return nearest(rest, self.centroids, self.prices, groups, device)

    def leave(
        self, rest: FloatArray, codes: IntArray, normalize: bool, device: str = "cpu"
    ) -> FloatArray:
        """What the next level sees, [n, dim]; with `normalize` of length 1."""
        return residual(rest, self.centroids, codes, normalize, self.project, device)


@dataclass(frozen=True, eq=False)
class LevelFit:
    """How well a level's centroids serve some vectors.

    distortion: mean of ||rest - centroid||^2. use: share of the vectors on each code, [k].
    """

    distortion: float
    use: FloatArray

    @property
    def utilisation(self) -> float:
        """Codes in use / codes."""
        return float((self.use > 0).mean())

    @staticmethod
    def of(rest: FloatArray, centroids: FloatArray, codes: IntArray) -> LevelFit:
        gaps = rest - centroids[codes]
        distortion = float(
            np.einsum("nd,nd->n", gaps, gaps).mean(dtype=np.float64).astype(np.float32)
        )
        use = np.bincount(codes, minlength=len(centroids)) / max(len(codes), 1)
        return LevelFit(distortion, use.astype(np.float32))
