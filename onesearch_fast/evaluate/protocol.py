"""Full-ranking evaluation: every system ranks the whole catalogue for the same held-out cases."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

import onesearch_fast
from onesearch_fast.data.split import EvalCase, Split
from onesearch_fast.errors import invalid
from onesearch_fast.evaluate.bootstrap import (
    CONFIDENCE,
    NUM_RESAMPLES,
    percentile_intervals,
    resampled_means,
)
from onesearch_fast.evaluate.metrics import KS, FloatArray, check_cutoffs, ranking_metrics
from onesearch_fast.evaluate.ranking import Ranker, check_ranking, history_pairs
from onesearch_fast.evaluate.report import EvaluationReport, Interval, Metrics, SliceResult
from onesearch_fast.evaluate.slices import slices_of

GENERATIVE = "onesearch"
_WHERE = "evaluate"


@runtime_checkable
class MeasuresCases(Protocol):
    """A ranker that reports values of its own, such as the valid-SID rate."""

    def case_values(self, cases: Sequence[EvalCase]) -> Mapping[str, FloatArray]:
        """{name: float64 [num_cases]}, NaN where a case was not measured."""
        ...


@dataclass(frozen=True)
class _TaskResult:
    values: dict[str, dict[str, FloatArray]]
    metrics: dict[str, Metrics]
    slices: dict[str, dict[str, dict[str, SliceResult]]]
    paired: dict[str, Metrics]
    seconds: dict[str, float]


def evaluate(
    rankers: Mapping[str, Sequence[Ranker]],
    split: Split,
    ks: Sequence[int] = KS,
    seed: int = 0,
    group: str = "report",
    num_model_seeds: int = 1,
    say: Callable[[str], None] = lambda message: None,
) -> EvaluationReport:
    """Ranks the whole catalogue with every system and compares them on the same cases.

    A case is hit only by its target item itself. Intervals are 95 % bootstrap intervals over users;
    differences are paired, against the system "onesearch" (or the first one where there is none).

    Args:
        rankers: task ("search", "next_item") -> systems, of distinct names, fitted on `split.log`.
        ks: cutoffs of HR, MRR, NDCG and Recall.
        seed: of the bootstrap resamples.
        group: the cases that are counted; "stop" is for development only.
        num_model_seeds: training seeds behind the generative model's numbers, for the label.
        say: hears which system is at work.

    Raises ValueError for a task without cases, a target outside the catalogue or in its history,
    and a ranker that returns too few columns, an unknown row, an item twice, or a history item.
    """
    check_cutoffs(ks, _WHERE)
    if not rankers:
        raise invalid(_WHERE, "rankers", "at least one task with systems", "none")
    results = {
        task: _evaluate_task(task, systems, _cases(split, task, group), split, ks, seed, say)
        for task, systems in rankers.items()
    }
    names = list(dict.fromkeys(ranker.name for systems in rankers.values() for ranker in systems))
    keys = {task: f"{task}/{split.name}" for task in results}

    def by_system(field: str) -> dict[str, dict[str, Any]]:
        return {
            name: {
                keys[task]: getattr(result, field)[name]
                for task, result in results.items()
                if name in result.metrics
            }
            for name in names
        }

    return EvaluationReport(
        metrics=by_system("metrics"),
        slices=by_system("slices"),
        references={keys[task]: _reference(list(r.metrics)) for task, r in results.items()},
        paired={keys[task]: result.paired for task, result in results.items()},
        case_values=by_system("values"),
        meta=_meta(split, results, ks, seed, group, num_model_seeds),
    )


def _cases(split: Split, task: str, group: str) -> list[EvalCase]:
    if task not in split.cases:
        raise invalid(_WHERE, "rankers", f"tasks of {sorted(split.cases)}", task)
    cases = [case for case in split.cases[task] if case.group == group]
    if not cases:
        remedy = "the log needs users with at least two clicks or orders"
        raise invalid(_WHERE, "split", f"{group} cases for task {task!r}", "none", remedy)
    for case in cases:
        if not 0 <= case.target_row < len(split.log.items):
            expected = f"target rows in [0, {len(split.log.items)})"
            raise invalid(_WHERE, "split", expected, f"{case.target_row} of user {case.user_id!r}")
    case_of, history = history_pairs(cases)
    targets = np.array([case.target_row for case in cases])
    known = targets[case_of] == history
    if known.any():
        user = cases[int(case_of[known][0])].user_id
        remedy = "history items are removed from every ranking, so it could never be hit"
        raise invalid(_WHERE, "split", "targets new to their user", f"user {user!r}", remedy)
    return cases


def _evaluate_task(
    task: str,
    rankers: Sequence[Ranker],
    cases: Sequence[EvalCase],
    split: Split,
    ks: Sequence[int],
    seed: int,
    say: Callable[[str], None],
) -> _TaskResult:
    names = [ranker.name for ranker in rankers]
    if not names or len(set(names)) != len(names):
        raise invalid(_WHERE, f"rankers[{task!r}]", "systems of distinct names", names)
    targets = np.array([case.target_row for case in cases], dtype=np.int64)
    values: dict[str, dict[str, FloatArray]] = {}
    extras: dict[str, Metrics] = {}
    seconds: dict[str, float] = {}
    users = _user_numbers(cases)
    for ranker in rankers:
        say(f"{task}: {ranker.name} ranks {len(cases):,} cases")
        begin = time.perf_counter()
        ranked = ranker.rank(cases, max(ks))
        seconds[ranker.name] = time.perf_counter() - begin
        check_ranking(ranker.name, ranked, cases, max(ks), len(split.log.items))
        values[ranker.name] = ranking_metrics(ranked, targets, ks)
        own = ranker.case_values(cases) if isinstance(ranker, MeasuresCases) else {}
        extras[ranker.name] = _extra_intervals(ranker.name, own, users, seed)
    intervals, paired = _intervals(values, users, seed)
    metrics = {name: {**intervals[name], **extras[name]} for name in names}
    return _TaskResult(values, metrics, _slices(values, cases, users, ks, seed), paired, seconds)


def _user_numbers(cases: Sequence[EvalCase]) -> npt.NDArray[np.int64]:
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(case.user_id, len(numbers)) for case in cases])


def _intervals(
    values: Mapping[str, Mapping[str, FloatArray]], users: npt.NDArray[np.int64], seed: int
) -> tuple[dict[str, Metrics], dict[str, Metrics]]:
    """Intervals of every system, and of (reference - system) for every other one."""
    names = list(values)
    metrics = list(values[names[0]])
    columns = np.stack([values[name][metric] for name in names for metric in metrics], axis=1)
    means = resampled_means(columns, users, NUM_RESAMPLES, seed)

    def block(name: str) -> slice:
        start = names.index(name) * len(metrics)
        return slice(start, start + len(metrics))

    def as_metrics(rows: FloatArray) -> Metrics:
        return {metric: _interval(row) for metric, row in zip(metrics, rows, strict=True)}

    of_each = percentile_intervals(columns, means)
    reference = block(_reference(names))
    paired: dict[str, Metrics] = {}
    for name in names:
        if name != _reference(names):
            other = block(name)
            paired[name] = as_metrics(
                percentile_intervals(
                    columns[:, reference] - columns[:, other],
                    means[:, reference] - means[:, other],
                )
            )
    return {name: as_metrics(of_each[block(name)]) for name in names}, paired


def _slices(
    values: Mapping[str, Mapping[str, FloatArray]],
    cases: Sequence[EvalCase],
    users: npt.NDArray[np.int64],
    ks: Sequence[int],
    seed: int,
) -> dict[str, dict[str, dict[str, SliceResult]]]:
    k = 10 if 10 in ks else max(ks)
    found: dict[str, dict[str, dict[str, SliceResult]]] = {name: {} for name in values}
    shown = {
        name: {metric: of[metric] for metric in (f"hr@{k}", f"ndcg@{k}")}
        for name, of in values.items()
    }
    for part in slices_of(cases):
        inside = {
            name: {metric: column[part.cases] for metric, column in of.items()}
            for name, of in shown.items()
        }
        intervals, _ = _intervals(inside, users[part.cases], seed)
        for name, metrics in intervals.items():
            family = found[name].setdefault(part.family, {})
            family[part.label] = SliceResult(len(part.cases), metrics)
    return found


def _extra_intervals(
    name: str, own: Mapping[str, FloatArray], users: npt.NDArray[np.int64], seed: int
) -> Metrics:
    intervals: Metrics = {}
    for metric, column in own.items():
        if column.shape != users.shape:
            expected = f"float64 [{len(users)}]"
            raise invalid(f"ranker {name!r}", f"case_values[{metric!r}]", expected, column.shape)
        measured = ~np.isnan(column)
        if measured.any():
            values = column[measured][:, None]
            means = resampled_means(values, users[measured], NUM_RESAMPLES, seed)
            intervals[metric] = _interval(percentile_intervals(values, means)[0])
    return intervals


def _interval(row: FloatArray) -> Interval:
    return [float(number) for number in row]


def _reference(names: Sequence[str]) -> str:
    return GENERATIVE if GENERATIVE in names else names[0]


def table_label(num_model_seeds: int) -> str:
    """What a table of so many training seeds is called; of fewer than three, a quick table."""
    plural = "one seed" if num_model_seeds == 1 else f"{num_model_seeds} seeds"
    return f"{'quick table' if num_model_seeds < 3 else 'table'} ({plural})"


def _meta(
    split: Split,
    results: Mapping[str, _TaskResult],
    ks: Sequence[int],
    seed: int,
    group: str,
    num_model_seeds: int,
) -> dict[str, Any]:
    return {
        "table": table_label(num_model_seeds),
        "split": split.name,
        "train_log_sha256": split.log.content_hash(),
        "num_items": len(split.log.items),
        "num_cases": {
            task: sum(case.group == group for case in split.cases[task]) for task in results
        },
        "group": group,
        "ks": list(ks),
        "bootstrap": {"resamples": NUM_RESAMPLES, "confidence": CONFIDENCE, "seed": seed},
        "seconds_ranking": {
            task: {name: round(value, 3) for name, value in result.seconds.items()}
            for task, result in results.items()
        },
        "versions": {
            "onesearch_fast": onesearch_fast.__version__,
            "python": platform.python_version(),
            "numpy": np.__version__,
        },
    }
