"""Codebooks: from a vector to the codes of its semantic ID."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from onesearch_fast.errors import FormatError, invalid
from onesearch_fast.files import atomic_path
from onesearch_fast.sid.nearest import FloatArray, IntArray, check_seed, nearest, residual

MAX_LEVELS = 8
MAX_LEVEL_SIZE = 1 << 16

_FORMAT = "onesearch_fast.codebooks"
_FORMAT_VERSION = 2
# Squared norms of larger values leave float32.
_LARGEST_VALUE = 1e15


class Codebooks:
    """Residual k-means, then optimised product quantisation of what is left.

    Residual level l: code_l = argmin_c ||r_l - C_l[c]||^2, r_0 = x, r_{l+1} = r_l - C_l[code_l],
    divided by its length when `normalize_residuals`. The last residual level may be balanced: its
    code is argmin_c ||r - C[c]||^2 + price_c. The OPQ levels share the last residual; each one
    codes its own orthogonal subspace of it. One function, `sid.nearest.nearest`, decides every
    code, in fitting and in encoding, in a batch and alone.
    Source: OneSearch, arXiv 2509.03236, section 3.1.3; the prices are ours.
    """

    def __init__(
        self,
        residual_codebooks: Sequence[FloatArray],
        opq_codebooks: Sequence[FloatArray],
        normalize_residuals: bool,
        prices: FloatArray | None = None,
    ) -> None:
        self._residual_codebooks = tuple(residual_codebooks)
        self._prices = prices
        self._opq_codebooks = tuple(opq_codebooks)
        self._normalize_residuals = normalize_residuals

    @property
    def dim(self) -> int:
        """Width of the vectors."""
        return int(self._residual_codebooks[0].shape[1])

    @property
    def level_sizes(self) -> tuple[int, ...]:
        """Number of codes of every level, residual levels first, then the OPQ levels."""
        return tuple(len(book) for book in (*self._residual_codebooks, *self._opq_codebooks))

    @property
    def num_levels(self) -> int:
        return len(self.level_sizes)

    @property
    def num_residual_levels(self) -> int:
        return len(self._residual_codebooks)

    @property
    def normalize_residuals(self) -> bool:
        return self._normalize_residuals

    @property
    def prices(self) -> FloatArray | None:
        """What each code of the last residual level costs, [k]; None when it is not balanced."""
        return self._prices

    @classmethod
    def fit(
        cls,
        embeddings: npt.ArrayLike,
        level_sizes: Sequence[int] = (4096, 1024, 512),
        opq: Sequence[int] | None = (256, 256),
        normalize_residuals: bool = True,
        seed: int = 0,
        iterations: int = 25,
        balance_slack: float | None = None,
        on_level: Callable[[str], None] | None = None,
    ) -> Codebooks:
        """Fits all levels to `embeddings` [n, dim]; equal input and seed give equal bits.

        `level_sizes` are the residual levels, `opq` the sub-vector codebooks on the last residual
        (none: () or None). With `balance_slack` no code of the last residual level is given to more
        than max(ceil((1 + balance_slack) n / k), largest group of identical rows) rows of
        `embeddings`. `on_level` hears which level is being fitted. Raises ValueError when a level
        sees fewer distinct vectors than it has codes, naming the largest usable size. Every code of
        a residual level that is not balanced is used by some row. Runs on one thread, so that the
        seed decides every bit; cost O(iterations x min(n, 256 k) x k x dim) a level. Needs faiss.
        """
        from threadpoolctl import threadpool_limits

        x = _check_vectors("Codebooks.fit", "embeddings", embeddings)
        if len(x) == 0:
            raise invalid("Codebooks.fit", "embeddings", "at least one row", "none")
        opq = () if opq is None else opq
        _check_sizes(level_sizes, opq, iterations)
        _check_slack(balance_slack)
        check_seed("Codebooks.fit", seed)
        fitting = _Fitting(normalize_residuals, seed, iterations, on_level or (lambda _: None))
        with threadpool_limits(limits=1):
            books, prices, rest = fitting.residual_levels(x, level_sizes, balance_slack)
            return cls(books, fitting.opq_levels(rest, opq), normalize_residuals, prices)

    def encode(self, x: npt.ArrayLike) -> IntArray:
        """x [n, dim] -> int32 [n, num_levels], codes local to each level.

        A row's codes depend on its bits alone, not on the batch. A zero row is coded like any
        other: by the centroid nearest to the origin. Needs no faiss. Cost: n x dim x
        sum(level_sizes) multiply-adds.
        """
        rest = _check_vectors("Codebooks.encode", "x", x, self.dim)
        codes = np.empty((len(rest), self.num_levels), np.int32)
        for level, book in enumerate(self._residual_codebooks):
            last = level == self.num_residual_levels - 1
            codes[:, level] = nearest(rest, book, self._prices if last else None)
            rest = residual(rest, book, codes[:, level], self._normalize_residuals)
        for level, book in enumerate(self._opq_codebooks, self.num_residual_levels):
            codes[:, level] = nearest(rest, book)
        return codes

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes one safetensors file, atomically; equal codebooks give equal bytes."""
        from safetensors.numpy import save_file

        tensors = self._tensors()
        about = {
            "format": _FORMAT,
            "version": _FORMAT_VERSION,
            "normalize_residuals": self._normalize_residuals,
            "sha256": _checksum(tensors, self._normalize_residuals),
        }
        # One metadata key: safetensors writes several in an order that changes from run to run.
        with atomic_path(path) as temporary:
            save_file(tensors, temporary, {"codebooks": json.dumps(about, sort_keys=True)})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Codebooks:
        """Reads what `save` wrote, bit for bit; FormatError when it is anything else."""
        tensors, about = _read(Path(path))
        residual_books = [tensors[name] for name in _names(tensors, "residual")]
        opq_books = [tensors[name] for name in _names(tensors, "opq")]
        prices = tensors.get("prices")
        return cls(residual_books, opq_books, about["normalize_residuals"], prices)

    def _tensors(self) -> dict[str, FloatArray]:
        books = {f"residual_{i}": book for i, book in enumerate(self._residual_codebooks)}
        books |= {f"opq_{i}": book for i, book in enumerate(self._opq_codebooks)}
        return books if self._prices is None else books | {"prices": self._prices}


@dataclass(frozen=True)
class _Fitting:
    """What fitting all levels has in common."""

    normalize: bool
    seed: int
    iterations: int
    say: Callable[[str], None]

    def residual_levels(
        self, x: FloatArray, sizes: Sequence[int], balance_slack: float | None
    ) -> tuple[list[FloatArray], FloatArray | None, FloatArray]:
        """Codebooks of the residual levels, the prices of the last, and what it leaves of x."""
        from onesearch_fast.sid.balance import balance_centroids
        from onesearch_fast.sid.residual_kmeans import fit_centroids

        books: list[FloatArray] = []
        prices = None
        for level, size in enumerate(sizes):
            self.say(f"level {level + 1}: {size} codes by k-means")
            argument = f"level_sizes[{level}]"
            book = fit_centroids(x, size, self.seed + level, self.iterations, argument)
            if balance_slack is not None and level == len(sizes) - 1:
                self.say(f"level {level + 1}: prices that even it out")
                book, prices = balance_centroids(x, book, balance_slack, self.seed)
            x = residual(x, book, nearest(x, book, prices), self.normalize)
            books.append(book)
        return books, prices, x

    def opq_levels(self, rest: FloatArray, sizes: Sequence[int]) -> list[FloatArray]:
        from onesearch_fast.sid.opq import fit_opq

        if not sizes:
            return []
        self.say(f"levels by OPQ of what is left: {tuple(sizes)} codes")
        return fit_opq(rest, sizes, self.seed, self.iterations)


def _check_vectors(
    where: str, argument: str, value: npt.ArrayLike, dim: int | None = None
) -> FloatArray:
    x = np.asarray(value)
    width = "dim" if dim is None else dim
    if x.ndim != 2 or x.shape[1] == 0 or (dim is not None and x.shape[1] != dim):
        raise invalid(where, argument, f"shape [n, {width}]", f"shape {list(x.shape)}")
    if not (np.issubdtype(x.dtype, np.floating)):
        raise invalid(where, argument, "floating-point numbers", str(x.dtype), kind=TypeError)
    bad = ~(np.abs(x) <= _LARGEST_VALUE)
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise invalid(
            where,
            argument,
            f"finite numbers of magnitude at most {_LARGEST_VALUE:g}",
            f"{x[row, column]} in row {row}, column {column}",
            f"{int(bad.any(axis=1).sum())} of {len(x)} rows are bad: mend or drop them",
        )
    return np.ascontiguousarray(x, np.float32)


def _check_sizes(level_sizes: Sequence[int], opq: Sequence[int], iterations: int) -> None:
    where = "Codebooks.fit"
    if not level_sizes:
        raise invalid(where, "level_sizes", "at least one residual level", level_sizes)
    if len(level_sizes) + len(opq) > MAX_LEVELS:
        raise invalid(
            where, "level_sizes + opq", f"at most {MAX_LEVELS} levels", (level_sizes, opq)
        )
    for argument, sizes in (("level_sizes", level_sizes), ("opq", opq)):
        if not all(isinstance(k, (int, np.integer)) and 1 <= k <= MAX_LEVEL_SIZE for k in sizes):
            raise invalid(where, argument, f"integers in [1, {MAX_LEVEL_SIZE}]", sizes)
    if iterations < 1:
        raise invalid(where, "iterations", "at least 1", iterations)


def _check_slack(balance_slack: float | None) -> None:
    if balance_slack is not None and not 0 < balance_slack < float("inf"):
        expected = "None, or a finite number above 0"
        raise invalid("Codebooks.fit", "balance_slack", expected, balance_slack)


def _read(path: Path) -> tuple[dict[str, FloatArray], dict[str, Any]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        about = json.loads(metadata.get("codebooks", "{}"))
    except (SafetensorError, ValueError, TypeError) as error:
        raise FormatError(f"{path}: not a sound codebooks file: {error}") from error
    if about.get("format") != _FORMAT or about.get("version") != _FORMAT_VERSION:
        raise FormatError(
            f"{path}: expected format {_FORMAT} version {_FORMAT_VERSION}, "
            f"got {about.get('format')} version {about.get('version')}; fit and save it again"
        )
    if about.get("sha256") != _checksum(tensors, about.get("normalize_residuals")):
        raise FormatError(f"{path}: content differs from its checksum; restore or fit it again")
    return tensors, about


def _names(tensors: dict[str, FloatArray], prefix: str) -> list[str]:
    return [name for i in range(len(tensors)) if (name := f"{prefix}_{i}") in tensors]


def _checksum(tensors: dict[str, FloatArray], normalize_residuals: object) -> str:
    digest = hashlib.sha256(repr(normalize_residuals).encode())
    for name in sorted(tensors):
        array = tensors[name]
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
