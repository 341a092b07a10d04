"""Codebooks: from a vector to the codes of its semantic ID."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from onesearch_fast.errors import invalid
from onesearch_fast.sid.levels import Level, LevelFit
from onesearch_fast.sid.nearest import FloatArray, IntArray, residual, usable_device
from onesearch_fast.sid.vectors import VectorSource

MAX_LEVELS = 8
MAX_LEVEL_SIZE = 1 << 16


class Codebooks:
    """Residual k-means, then optimised product quantisation of what is left.

    Residual level l: code_l = argmin_c ||r_l - C_l[c]||^2 + price_c, r_0 = x, r_{l+1} = r_l -
    C_l[code_l], divided by its length when `normalize_residuals`; prices are 0 unless a level is
    balanced. The OPQ levels share the last residual; each one codes its own orthogonal subspace of
    it. One function, `ops.nearest_code`, decides every code, in fitting and in encoding, in a batch
    and alone.
    With `mean` (PRQ) r_0 is x without its component along the mean, and the levels whose `project`
    is set leave r_l without its component along C_l[code_l].
    Source: OneSearch, arXiv 2509.03236, section 3.1.3; the prices are ours.
    """

    def __init__(
        self,
        residual_levels: Sequence[Level],
        opq_levels: Sequence[Level] = (),
        normalize_residuals: bool = True,
        mean: FloatArray | None = None,
        fitted: Sequence[LevelFit] | None = None,
    ) -> None:
        """mean: [dim]. fitted: how each level served the vectors it was fitted to."""
        self._levels = (*residual_levels, *opq_levels)
        self._num_residual_levels = len(residual_levels)
        self._normalize_residuals = normalize_residuals
        self._mean = mean
        self._fitted = None if fitted is None else tuple(fitted)

    @property
    def dim(self) -> int:
        """Width of the vectors."""
        return int(self._levels[0].centroids.shape[1])

    @property
    def levels(self) -> tuple[Level, ...]:
        """Residual levels first, then the OPQ levels."""
        return self._levels

    @property
    def level_sizes(self) -> tuple[int, ...]:
        """Number of codes of every level."""
        return tuple(level.size for level in self._levels)

    @property
    def num_levels(self) -> int:
        return len(self._levels)

    @property
    def num_residual_levels(self) -> int:
        return self._num_residual_levels

    @property
    def normalize_residuals(self) -> bool:
        return self._normalize_residuals

    @property
    def mean(self) -> FloatArray | None:
        """The direction that is taken out of every vector first, [dim]; None without PRQ."""
        return self._mean

    @property
    def fitted(self) -> tuple[LevelFit, ...] | None:
        """How each level served the vectors it was fitted to; `drift` compares with it."""
        return self._fitted

    @classmethod
    def fit(
        cls,
        embeddings: Any,
        level_sizes: Sequence[int] = (4096, 1024, 512),
        opq: Sequence[int] | None = (256, 256),
        normalize_residuals: bool = True,
        seed: int = 0,
        iterations: int = 25,
        balance_slack: float | None = None,
        on_level: Callable[[str], None] | None = None,
        *,
        balance_by_first_code: bool = False,
        opq_directions: int | None = None,
        prq: bool = False,
        batch_rows: int | None = None,
        device: str | None = None,
        state: str | os.PathLike[str] | None = None,
    ) -> Codebooks:
        """Fits all levels to `embeddings` [n, dim]; equal input and seed give equal bits.

        Args:
            embeddings: an array, a memory map, or chunks of rows (`sid.vectors.VectorSource`),
                which are read a few times and never held together.
            level_sizes: codes of the residual levels. opq: codes of the sub-vector levels on the
                last residual (none: () or None).
            normalize_residuals: residuals are scaled to length 1.
            iterations: of k-means at most, and of OPQ.
            balance_slack: no code of the last residual level is given to more than max(ceil((1 +
                balance_slack) n / k), largest group of identical residuals) rows.
            balance_by_first_code: the same among the rows of each first code, with prices of its
                own: for catalogues with many rows a first code.
            opq_directions: code only so many directions of the last residual, those in which items
                of one SID prefix differ most, so that more items get an SID of their own. None:
                all directions, which keeps most of the vector.
            prq: after PRQ-KMeans: take the mean direction out of the vectors, let rows pull on
                their five nearest centroids, and project the chosen centroid out of the first two
                levels.
            batch_rows: rows drawn anew for each iteration of k-means; None: all of the sample.
            device: where distances are measured, "cpu" or "cuda"; None: a GPU where torch sees
                one. It changes no bit.
            state: folder for what is finished; a fit of the same vectors and settings that was
                stopped goes on from there.
            on_level: hears what is being done.

        Raises:
            ValueError: bad settings or numbers; a level sees fewer distinct vectors than it has
                codes (names the largest usable size); groups of identical vectors do not fit into
                the balanced level.

        At most 128 rows a code, drawn by `seed`, are trained on; only balancing then looks at all
        rows. Every code of a residual level that is not balanced is used by some row. Needs scipy.
        """
        from onesearch_fast.sid.fitting import FitSettings, Fitting

        settings = FitSettings(
            level_sizes=_as_sizes("level_sizes", level_sizes),
            opq=_as_sizes("opq", opq or ()),
            normalize_residuals=normalize_residuals,
            seed=seed,
            iterations=iterations,
            balance_slack=balance_slack,
            balance_by_first_code=balance_by_first_code,
            opq_directions=opq_directions,
            prq=prq,
            batch_rows=batch_rows,
        )
        device = usable_device("Codebooks.fit", device)
        source = VectorSource("Codebooks.fit", "embeddings", embeddings)
        return Fitting(settings, source, device, state, on_level or (lambda _: None)).run()

    def encode(self, x: Any, device: str | None = "cpu") -> IntArray:
        """x [n, dim], as for `fit` -> int32 [n, num_levels], codes local to each level.

        A row's codes depend on its bits alone, not on the batch or the device. A zero row is coded
        like any other: by the centroid nearest to the origin. Needs torch only. Cost: n x dim x
        sum(level_sizes) multiply-adds.
        """
        codes = [np.empty((0, self.num_levels), np.int32), *self.encode_chunks(x, device)]
        return np.concatenate(codes)

    def encode_chunks(self, x: Any, device: str | None = "cpu") -> Iterator[IntArray]:
        """As `encode`, chunk by chunk, for more rows than memory holds codes of."""
        device = usable_device("Codebooks.encode", device)
        source = VectorSource("Codebooks.encode", "x", x, self.dim)
        for chunk in source.chunks():
            yield np.stack([codes for _, codes in self.walk(chunk, device)], axis=1)

    def walk(self, x: FloatArray, device: str = "cpu") -> Iterator[tuple[FloatArray, IntArray]]:
        """For each level, what it sees of float32 x [n, dim], and its codes int32 [n]."""
        rest = self.without_mean(x, device)
        first = None
        for number, level in enumerate(self._levels):
            codes = level.encode(rest, first, device)
            yield rest, codes
            first = codes if first is None else first
            if number < self._num_residual_levels:
                rest = level.leave(rest, codes, self._normalize_residuals, device)

    def without_mean(self, x: FloatArray, device: str = "cpu") -> FloatArray:
        """What the first level sees of x [n, dim]."""
        if self._mean is None:
            return x
        only = np.zeros(len(x), np.int32)
        return residual(x, self._mean[None], only, self._normalize_residuals, True, device)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes one safetensors file, atomically; equal codebooks give equal bytes."""
        from onesearch_fast.sid.codebooks_file import write

        write(path, self)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Codebooks:
        """Reads what `save` wrote, bit for bit; FormatError when it is anything else."""
        from onesearch_fast.sid.codebooks_file import read

        return read(path)


def _as_sizes(argument: str, sizes: Any) -> tuple[int, ...]:
    if isinstance(sizes, Iterable):
        return tuple(sizes)
    raise invalid("Codebooks.fit", argument, "a sequence of integers", sizes, kind=TypeError)
