"""Fits codebooks again to what a catalogue has become, with codes that stay where they can."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from onesearch_fast.errors import invalid
from onesearch_fast.sid.codebooks import Codebooks
from onesearch_fast.sid.fitting import FitSettings, Fitting, Start
from onesearch_fast.sid.nearest import usable_device
from onesearch_fast.sid.vectors import VectorSource

_WHERE = "refit_codebooks"


@dataclass(frozen=True, eq=False)
class Refit:
    """New codebooks, and how far the codes of the vectors stayed.

    kept[l-1]: vectors whose first l codes are what they were / vectors.
    """

    codebooks: Codebooks
    kept: tuple[float, ...]


def refit_codebooks(
    book: Codebooks,
    embeddings: Any,
    from_level: int,
    *,
    balance_slack: float | None = None,
    iterations: int = 25,
    seed: int = 0,
    device: str | None = None,
    state: str | os.PathLike[str] | None = None,
    on_level: Callable[[str], None] | None = None,
) -> Refit:
    """Fits the levels from `from_level` (counted from 1) on again, to `embeddings` [n, dim].

    Levels before it stay to the bit, and so do the codes of all vectors in them. The others begin
    at their old centroids (OPQ in its old subspaces) and are numbered so that most vectors keep
    their code. balance_slack: as for `Codebooks.fit`; needed when `book` has prices that would be
    found anew. The rest: as for `Codebooks.fit`.
    """
    if not 1 <= from_level <= book.num_levels:
        raise invalid(_WHERE, "from_level", f"a level in [1, {book.num_levels}]", from_level)
    last = book.levels[book.num_residual_levels - 1]
    moves = from_level <= book.num_residual_levels
    if moves and (last.prices is None) != (balance_slack is None):
        free = last.prices is None
        expected = "None: no level is balanced" if free else "the slack of the balanced level"
        raise invalid(_WHERE, "balance_slack", expected, balance_slack)
    settings = FitSettings(
        level_sizes=book.level_sizes[: book.num_residual_levels],
        opq=book.level_sizes[book.num_residual_levels :],
        normalize_residuals=book.normalize_residuals,
        seed=seed,
        iterations=iterations,
        balance_slack=balance_slack if moves else None,
        balance_by_first_code=moves and last.prices is not None and last.prices.ndim == 2,
        opq_directions=None,
        prq=book.mean is not None,
        batch_rows=None,
    )
    device = usable_device(_WHERE, device)
    source = VectorSource(_WHERE, "embeddings", embeddings, book.dim)
    say = on_level or (lambda _: None)
    new = Fitting(settings, source, device, state, say, Start(book, from_level - 1)).run()
    return Refit(new, _kept(book, new, source, device))


def _kept(old: Codebooks, new: Codebooks, source: VectorSource, device: str) -> tuple[float, ...]:
    counts = np.zeros(old.num_levels)
    num_vectors = 0
    for chunk in source.chunks():
        same = old.encode(chunk, device) == new.encode(chunk, device)
        counts += np.logical_and.accumulate(same, axis=1).sum(axis=0)
        num_vectors += len(chunk)
    return tuple(float(count) / num_vectors for count in counts)
