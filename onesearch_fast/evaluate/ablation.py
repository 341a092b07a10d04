"""The ablation table: each row against the one before it, and the last against the first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from onesearch_fast.data.split import EvalCase
from onesearch_fast.errors import invalid
from onesearch_fast.evaluate.bootstrap import paired_difference
from onesearch_fast.evaluate.metrics import FloatArray
from onesearch_fast.evaluate.report import Interval

METRICS = ("hr@10", "mrr@10", "ndcg@10")
# What needs more than the words of the query, in the synthetic catalogue.
HARD_KINDS = frozenset({"negation", "question", "substitution", "brand_constraint"})


@dataclass(frozen=True, eq=False)
class RowValues:
    """What a row scored: each metric float64 [seeds, cases], in the order of the cases.

    minutes: of training, all stages and what they share, mean over seeds.
    """

    name: str
    values: Mapping[str, FloatArray]
    valid_sid_rate: float
    minutes: float


@dataclass(frozen=True)
class Comparison:
    """A row's mean and its paired difference [value, low, high] to another row, by metric."""

    name: str
    against: str | None
    means: Mapping[str, float]
    differences: Mapping[str, Interval]
    valid_sid_rate: float
    minutes: float


def compare_rows(rows: Sequence[RowValues], cases: Sequence[EvalCase]) -> list[Comparison]:
    """Every row with its difference to the row before, then the last with that to the first.

    Differences are those of the same cases, averaged over seeds; intervals are 95 % bootstrap
    intervals over users, so they speak of other users and not of other seeds.
    """
    for row in rows:
        shapes = {metric: value.shape for metric, value in row.values.items()}
        if any(len(shape) != 2 or shape[1] != len(cases) for shape in shapes.values()):
            raise invalid("compare_rows", row.name, f"[seeds, {len(cases)}] values", shapes)
    users = np.unique([case.user_id for case in cases], return_inverse=True)[1]
    pairs: list[tuple[RowValues, RowValues | None]] = [(rows[0], None)] if rows else []
    pairs += [(rows[place], rows[place - 1]) for place in range(1, len(rows))]
    if len(rows) > 2:
        pairs.append((rows[-1], rows[0]))
    return [_compared(row, other, users) for row, other in pairs]


def hard_cases(cases: Sequence[EvalCase]) -> list[int]:
    """Places of the cases whose query is of a hard kind."""
    return [place for place, case in enumerate(cases) if case.query_kind in HARD_KINDS]


def of_cases(rows: Sequence[RowValues], places: Sequence[int]) -> list[RowValues]:
    """The rows' values at some of the cases."""
    return [
        RowValues(
            row.name,
            {metric: value[:, list(places)] for metric, value in row.values.items()},
            row.valid_sid_rate,
            row.minutes,
        )
        for row in rows
    ]


def as_json(comparisons: Sequence[Comparison]) -> list[dict[str, Any]]:
    return [
        {
            "row": one.name,
            "against": one.against,
            "means": dict(one.means),
            "differences": dict(one.differences),
            "valid_sid_rate": one.valid_sid_rate,
            "minutes": one.minutes,
        }
        for one in comparisons
    ]


def as_text(title: str, comparisons: Sequence[Comparison]) -> str:
    """A table for people; differences in points, with their interval."""
    lines = [title, f"{'row':<22}{'hr@10':>8}{'mrr@10':>8}  {'hr@10 difference':<30}valid  min"]
    for one in comparisons:
        difference = ""
        if one.against is not None:
            value, low, high = (100 * part for part in one.differences["hr@10"])
            difference = f"{value:+.2f} [{low:+.2f}, {high:+.2f}] to {one.against}"
        shown = f"{one.means['hr@10']:>8.4f}{one.means['mrr@10']:>8.4f}"
        ends = f"{one.valid_sid_rate:.3f}  {one.minutes:.1f}"
        lines.append(f"{one.name:<22}{shown}  {difference:<46}{ends}")
    return "\n".join(lines)


def _compared(row: RowValues, other: RowValues | None, users: npt.NDArray[np.int64]) -> Comparison:
    means = {metric: float(row.values[metric].mean()) for metric in METRICS}
    differences: dict[str, Interval] = {}
    if other is not None:
        mine, theirs = (
            np.stack([one.values[metric].mean(0) for metric in METRICS], axis=1)
            for one in (row, other)
        )
        intervals = paired_difference(mine, theirs, users)
        differences = dict(zip(METRICS, intervals.tolist(), strict=True))
    against = None if other is None else other.name
    return Comparison(row.name, against, means, differences, row.valid_sid_rate, row.minutes)
