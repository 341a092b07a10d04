"""Fits codebooks: level after level on a sample, prices on all rows, resumable."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from onesearch_fast.errors import invalid
from onesearch_fast.sid.balance import balance_centroids, capacity, raise_prices
from onesearch_fast.sid.codebooks import MAX_LEVEL_SIZE, MAX_LEVELS, Codebooks
from onesearch_fast.sid.fit_state import FitState
from onesearch_fast.sid.levels import Level, LevelFit
from onesearch_fast.sid.matching import match_codes
from onesearch_fast.sid.nearest import FloatArray, IntArray, Prices
from onesearch_fast.sid.opq import fit_opq, improve_opq, parting_directions
from onesearch_fast.sid.residual_kmeans import MAX_ROWS_PER_CENTROID, KMeans
from onesearch_fast.sid.seeds import check_seed
from onesearch_fast.sid.vectors import VectorSource

_WHERE = "Codebooks.fit"
# PRQ helps the levels that carry what items share; the last residual level is left as it is.
_PRQ_LEVELS = 2
# Residuals of all rows are kept in memory up to this size, else in a file beside the state.
_MAX_BYTES_IN_MEMORY = 1 << 30


@dataclass(frozen=True)
class FitSettings:
    """As the arguments of `Codebooks.fit`; raises ValueError for what cannot be fitted."""

    level_sizes: tuple[int, ...]
    opq: tuple[int, ...]
    normalize_residuals: bool
    seed: int
    iterations: int
    balance_slack: float | None
    balance_by_first_code: bool
    opq_directions: int | None
    prq: bool
    batch_rows: int | None

    def __post_init__(self) -> None:
        self._check_sizes()
        check_seed(_WHERE, self.seed)
        for argument in ("iterations", "batch_rows", "opq_directions"):
            value = getattr(self, argument)
            if value is not None and value < 1:
                raise invalid(_WHERE, argument, "at least 1", value)
        if self.opq_directions is not None and self.opq_directions < len(self.opq):
            expected = f"one direction or more for each of {len(self.opq)} OPQ levels"
            raise invalid(_WHERE, "opq_directions", expected, self.opq_directions)
        slack = self.balance_slack
        if slack is not None and not 0 < slack < float("inf"):
            raise invalid(_WHERE, "balance_slack", "None, or a finite number above 0", slack)
        if self.balance_by_first_code and (slack is None or len(self.level_sizes) < 2):
            expected = "False without balance_slack, and with a single residual level"
            raise invalid(_WHERE, "balance_by_first_code", expected, True)

    def _check_sizes(self) -> None:
        if not self.level_sizes:
            expected = "at least one residual level"
            raise invalid(_WHERE, "level_sizes", expected, self.level_sizes)
        both = (self.level_sizes, self.opq)
        if sum(map(len, both)) > MAX_LEVELS:
            raise invalid(_WHERE, "level_sizes + opq", f"at most {MAX_LEVELS} levels", both)
        for argument, sizes in zip(("level_sizes", "opq"), both, strict=True):
            if not all(
                isinstance(k, (int, np.integer)) and 1 <= k <= MAX_LEVEL_SIZE for k in sizes
            ):
                raise invalid(_WHERE, argument, f"integers in [1, {MAX_LEVEL_SIZE}]", sizes)

    @property
    def sample_rows(self) -> int:
        """Rows that the levels are trained on, at most."""
        return MAX_ROWS_PER_CENTROID * max(*self.level_sizes, *self.opq, 2)

    def kmeans(self, level: int, device: str) -> KMeans:
        soft = self.prq and level < _PRQ_LEVELS
        return KMeans(self.seed + level, self.iterations, soft, self.batch_rows, device)


@dataclass(frozen=True)
class Start:
    """Codebooks to begin with: levels before `level` stay, the others move from where they are."""

    book: Codebooks
    level: int


@dataclass(frozen=True)
class Fitting:
    """One fit: what it is fitted to, how, where it is remembered, and what it begins with."""

    settings: FitSettings
    source: VectorSource
    device: str
    state: str | os.PathLike[str] | None
    say: Callable[[str], None]
    start: Start | None = None

    def run(self) -> Codebooks:
        """The fitted codebooks. BLAS runs on one thread, so that the input decides every bit."""
        from threadpoolctl import threadpool_limits

        with threadpool_limits(limits=1):
            num_rows = self.source.count()
            if num_rows == 0:
                raise invalid(_WHERE, "embeddings", "at least one row", "none")
            sample = self._draw(num_rows)
            fingerprint = "" if self.state is None else self._fingerprint(num_rows)
            state = FitState.open(self.state, fingerprint)
            return self._measure(self._fit_levels(sample, num_rows, state), sample)

    def _draw(self, num_rows: int) -> FloatArray:
        count = min(num_rows, self.settings.sample_rows)
        if count == num_rows:
            return self.source.take(np.arange(num_rows))
        random = np.random.default_rng(self.settings.seed)
        return self.source.take(np.sort(random.choice(num_rows, count, replace=False)))

    def _fingerprint(self, num_rows: int) -> str:
        """Of all that decides a level. Rows beside the sample do: prices hold for all."""
        digest = hashlib.sha256(f"{self.settings} {num_rows}".encode())
        for chunk in self.source.chunks():
            digest.update(chunk.data)
        if self.start is not None:
            digest.update(f"from level {self.start.level}".encode())
            book = self.start.book
            arrays = [array for level in book.levels for array in (level.centroids, level.prices)]
            for array in (book.mean, *arrays):
                digest.update(b"none" if array is None else np.ascontiguousarray(array).data)
        return digest.hexdigest()

    def _fit_levels(self, sample: FloatArray, num_rows: int, state: FitState) -> Codebooks:
        settings = self.settings
        mean = self._mean(sample)
        book = Codebooks((), (), settings.normalize_residuals, mean)
        rest = book.without_mean(sample, self.device)
        before = self._codes_before(sample)
        codes: list[IntArray] = []
        for number in range(len(settings.level_sizes)):
            level = state.load(number)
            if level is None:
                level = self._fit_residual_level(book, rest, codes, num_rows)
                level = self._keep_ids(level, number, rest, codes, before)
                state.save(number, level)
            first = codes[0] if codes else None
            codes.append(level.encode(rest, first, self.device))
            rest = level.leave(rest, codes[-1], settings.normalize_residuals, self.device)
            book = Codebooks((*book.levels, level), (), settings.normalize_residuals, mean)
        opq = self._fit_opq(rest, codes, before, state) if settings.opq else []
        return Codebooks(book.levels, opq, settings.normalize_residuals, mean)

    def _mean(self, sample: FloatArray) -> FloatArray | None:
        if self.start is not None:
            return self.start.book.mean
        if not self.settings.prq:
            return None
        mean: FloatArray = sample.mean(axis=0, dtype=np.float64).astype(np.float32)
        return mean

    def _codes_before(self, sample: FloatArray) -> list[IntArray]:
        if self.start is None:
            return []
        return [codes for _, codes in self.start.book.walk(sample, self.device)]

    def _keep_ids(
        self,
        level: Level,
        number: int,
        rest: FloatArray,
        codes: Sequence[IntArray],
        before: Sequence[IntArray],
    ) -> Level:
        """`level` with its codes numbered so that most rows keep the one they had before."""
        if self.start is None or number < self.start.level:
            return level
        now = level.encode(rest, codes[0] if codes else None, self.device)
        order = match_codes(now, before[number], level.size)
        prices = None if level.prices is None else level.prices[..., order]
        return replace(level, centroids=level.centroids[order], prices=prices)

    def _fit_residual_level(
        self, book: Codebooks, rest: FloatArray, codes: Sequence[IntArray], num_rows: int
    ) -> Level:
        settings, number = self.settings, book.num_levels
        size = settings.level_sizes[number]
        known = None
        if self.start is not None:
            if number < self.start.level:
                return self.start.book.levels[number]
            known = self.start.book.levels[number].centroids
        self.say(f"level {number + 1}: {size} codes by k-means")
        kmeans = settings.kmeans(number, self.device)
        level = Level(
            kmeans.fit(rest, size, f"level_sizes[{number}]", known),
            project=settings.prq and number < min(_PRQ_LEVELS, len(settings.level_sizes) - 1),
        )
        if settings.balance_slack is None or number != len(settings.level_sizes) - 1:
            return level
        self.say(f"level {number + 1}: prices that even it out")
        centroids, prices = balance_centroids(
            rest, level.centroids, settings.balance_slack, settings.seed
        )
        level = replace(level, centroids=centroids)
        if len(rest) == num_rows:
            return self._price(level, prices, rest, codes, book)
        with self._residuals_of_all(book, rest.shape[1], num_rows) as (all_rest, first):
            return self._price(level, prices, all_rest, [first], book)

    def _price(
        self,
        level: Level,
        prices: Prices,
        rest: FloatArray,
        codes: Sequence[IntArray],
        book: Codebooks,
    ) -> Level:
        """`level` with prices that hold for all rows, from those that about even out the sample."""
        slack = self.settings.balance_slack
        assert slack is not None
        if not self.settings.balance_by_first_code:
            limit = capacity(rest, level.size, slack)
            return replace(level, prices=raise_prices(rest, level.centroids, prices, limit))
        table = np.zeros((book.level_sizes[0], level.size))
        order = np.argsort(codes[0], kind="stable")
        bounds = np.searchsorted(codes[0][order], np.arange(len(table) + 1))
        for first in np.flatnonzero(np.diff(bounds)):
            own = rest[order[bounds[first] : bounds[first + 1]]]
            limit = capacity(own, level.size, slack)
            table[first] = raise_prices(own, level.centroids, table[first], limit)
        return replace(level, prices=table)

    @contextmanager
    def _residuals_of_all(
        self, book: Codebooks, dim: int, num_rows: int
    ) -> Iterator[tuple[FloatArray, IntArray]]:
        """What the levels of `book` leave of all rows, and the first codes; in a file if large."""
        first = np.zeros(num_rows, np.int32)
        with tempfile.TemporaryDirectory(dir=self.state) as folder:
            if 4 * num_rows * dim > _MAX_BYTES_IN_MEMORY:
                path = Path(folder) / "rest"
                rest: FloatArray = np.memmap(path, np.float32, "w+", shape=(num_rows, dim))
            else:
                rest = np.empty((num_rows, dim), np.float32)
            begin = 0
            for chunk in self.source.chunks():
                rows = slice(begin, begin + len(chunk))
                steps = list(book.walk(chunk, self.device))
                if steps:
                    first[rows] = steps[0][1]
                    normalize = self.settings.normalize_residuals
                    rest[rows] = book.levels[-1].leave(*steps[-1], normalize, self.device)
                else:
                    rest[rows] = book.without_mean(chunk, self.device)
                begin += len(chunk)
            yield rest, first

    def _fit_opq(
        self,
        rest: FloatArray,
        codes: Sequence[IntArray],
        before: Sequence[IntArray],
        state: FitState,
    ) -> list[Level]:
        numbers = range(len(codes), len(codes) + len(self.settings.opq))
        known = [level for number in numbers if (level := state.load(number)) is not None]
        if len(known) == len(numbers):
            return known
        self.say(f"levels by OPQ of what is left: {self.settings.opq} codes")
        levels = [Level(np.ascontiguousarray(table)) for table in self._opq_tables(rest, codes)]
        for number, level in zip(numbers, levels, strict=True):
            levels[number - len(codes)] = self._keep_ids(level, number, rest, codes, before)
            state.save(number, levels[number - len(codes)])
        return levels

    def _opq_tables(self, rest: FloatArray, codes: Sequence[IntArray]) -> list[FloatArray]:
        settings = self.settings
        kmeans = settings.kmeans(_PRQ_LEVELS, self.device)
        if self.start is not None:
            tables = [level.centroids for level in self.start.book.levels[len(codes) :]]
            stay = max(self.start.level - len(codes), 0)
            return tables[:stay] + improve_opq(rest, tables[stay:], kmeans)
        if settings.opq_directions is None or settings.opq_directions >= rest.shape[1]:
            return fit_opq(rest, settings.opq, kmeans)
        onto = parting_directions(rest, np.stack(codes, axis=1), settings.opq_directions)
        return [table @ onto.T for table in fit_opq(rest @ onto, settings.opq, kmeans)]

    def _measure(self, book: Codebooks, sample: FloatArray) -> Codebooks:
        fitted = [
            LevelFit.of(rest, level.centroids, codes)
            for level, (rest, codes) in zip(
                book.levels, book.walk(sample, self.device), strict=True
            )
        ]
        residual_levels = book.levels[: book.num_residual_levels]
        opq_levels = book.levels[book.num_residual_levels :]
        return Codebooks(residual_levels, opq_levels, book.normalize_residuals, book.mean, fitted)
