"""Slices of the report: by kind and frequency of the query, by warmth of item and user."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from onesearch_fast.data.split import EvalCase


@dataclass(frozen=True)
class Slice:
    """The cases that share a label within a family; `cases` are sorted indices int64."""

    family: str
    label: str
    cases: npt.NDArray[np.int64]


@dataclass(frozen=True)
class _Bins:
    """Half-open ranges of a count: edges (1, 10) make "0", "1-9" and ">=10"."""

    edges: tuple[int, ...]

    def label(self, count: int) -> str:
        for low, high in zip((0, *self.edges[:-1]), self.edges, strict=True):
            if count < high:
                return str(low) if high == low + 1 else f"{low}-{high - 1}"
        return f">={self.edges[-1]}"

    def labels(self) -> list[str]:
        return [self.label(edge) for edge in (0, *self.edges)]


_QUERY_FREQUENCY = _Bins((1, 10))
_ITEM_WARMTH = _Bins((1, 5))
_USER_WARMTH = _Bins((5, 20))


def slices_of(cases: Sequence[EvalCase]) -> list[Slice]:
    """The non-empty slices of four families, in a fixed order.

    query_kind: the label that came with the data. query_frequency: times the query's text occurs in
    the TrainLog (0, 1-9, >=10). item_warmth: times the target does (0, 1-4, >=5). user_warmth:
    length of the history (0-4, 5-19, >=20). Cases without a query are in no query slice.
    """
    kinds = sorted({case.query_kind for case in cases if case.query_kind})
    found = _family(cases, "query_kind", kinds, lambda case: case.query_kind)
    found += _family(
        cases,
        "query_frequency",
        _QUERY_FREQUENCY.labels(),
        lambda case: None if case.query is None else _QUERY_FREQUENCY.label(case.query_count),
    )
    found += _family(
        cases,
        "item_warmth",
        _ITEM_WARMTH.labels(),
        lambda case: _ITEM_WARMTH.label(case.item_count),
    )
    found += _family(
        cases,
        "user_warmth",
        _USER_WARMTH.labels(),
        lambda case: _USER_WARMTH.label(len(case.history)),
    )
    return found


def _family(
    cases: Sequence[EvalCase],
    family: str,
    labels: Sequence[str],
    label_of: Callable[[EvalCase], str | None],
) -> list[Slice]:
    given = np.array([label_of(case) or "" for case in cases])
    indices = ((label, np.flatnonzero(given == label)) for label in labels)
    return [Slice(family, label, members) for label, members in indices if len(members)]
