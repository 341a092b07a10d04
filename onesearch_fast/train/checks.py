"""What a run cannot do is refused before any training time is spent."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from onesearch_fast.data.split import TrainLog
from onesearch_fast.errors import invalid
from onesearch_fast.sid.build import choose_level_sizes
from onesearch_fast.sid.config import SidConfig
from onesearch_fast.train.config import ObjectiveConfig, StageConfig
from onesearch_fast.train.stages import WITHOUT_QUERIES, Stage, StageInputs, find_stage

_OWN_DROPOUT = ("dropout", "attention_dropout", "attn_pdrop", "embd_pdrop", "resid_pdrop")

# Of so many items the suggested level sizes are 2 or more.
_FEWEST_ITEMS = 6


def check_level_sizes(num_distinct: int, config: SidConfig) -> None:
    """Raises ValueError for SIDs that no trie takes, which is built when all is trained.

    Args:
        num_distinct: items that have a vector of their own, or at most so many.
    """
    if _make_a_trie(sum(choose_level_sizes(num_distinct, config), ())):
        return
    given = (*(config.level_sizes or ()), *(config.opq or ()))
    if min(given, default=2) < 2 or None not in (config.level_sizes, config.opq):
        expected, got = (
            "2 levels or more, of 2 codes or more each",
            (config.level_sizes, config.opq),
        )
        raise invalid("run_pipeline", "sid.level_sizes + sid.opq", expected, got)
    expected = f"{_FEWEST_ITEMS} or more whose texts the encoder tells apart"
    remedy = "add items, or set both sid.level_sizes and sid.opq in a config"
    raise invalid("run_pipeline", "items", expected, num_distinct, remedy)


def _make_a_trie(sizes: tuple[int, ...]) -> bool:
    return len(sizes) >= 2 and min(sizes) >= 2


def check_stages(log: TrainLog, stages: Iterable[StageConfig], model: Any = None) -> None:
    """Raises ValueError for a stage that does not exist or cannot do what it is asked to.

    Args:
        model: `transformers` config of what is trained; None is a model from scratch, which has no
            dropout of its own.
    """
    asked = any(e.query is not None for history in log.histories for e in history.events)
    for settings in stages:
        stage = find_stage(settings.name, settings.tasks)
        if not asked and not WITHOUT_QUERIES.issuperset(settings.tasks):
            needing = sorted(set(settings.tasks) - WITHOUT_QUERIES)
            remedy = f"without queries, {sorted(WITHOUT_QUERIES)} can be learnt"
            expected = "a log with queries"
            raise invalid(_where(settings), f"tasks {needing}", expected, "none", remedy)
        _check_objective(stage, settings, model)


def _check_objective(stage: Stage, settings: StageConfig, model: Any) -> None:
    objective = settings.objective
    if objective.distillation is not None and stage.teachers.keys().isdisjoint(settings.tasks):
        expected, got = f"some of {sorted(stage.teachers)}", sorted(settings.tasks)
        remedy = "nobody teaches the others: leave the distillation out"
        raise invalid(_where(settings), "tasks of a distillation", expected, got, remedy)
    check_r_drop(objective, model)


def check_r_drop(objective: ObjectiveConfig, model: Any) -> None:
    """Raises ValueError for R-Drop of two passes that are the same; `model` as in check_stages."""
    own = any(getattr(model, name, 0.0) > 0 for name in _OWN_DROPOUT)
    if objective.r_drop is not None and not own and objective.dropout == 0:
        remedy = "set a dropout: without one both passes of R-Drop are the same"
        raise invalid("ObjectiveConfig", "dropout", "more than 0", objective.dropout, remedy)


def check_rows(stages: Iterable[StageConfig], inputs: StageInputs) -> None:
    """Raises ValueError for a task of which the log has no row, or a teacher without keywords."""
    for settings in stages:
        tasks = find_stage(settings.name, settings.tasks).tasks
        empty = [task for task in sorted(settings.tasks) if _is_empty(tasks[task](inputs))]
        if empty:
            remedy = "leave them out"
            raise invalid(_where(settings), "tasks", "tasks with rows", f"none in {empty}", remedy)
        taught = settings.objective.distillation is not None
        if taught and not any(inputs.needed_thoughts().of_turn.values()):
            expected = "keywords of some query, for the teacher"
            raise invalid(_where(settings), "distillation", expected, "none")


def _is_empty(rows: Iterable[object]) -> bool:
    return next(iter(rows), None) is None


def _where(settings: StageConfig) -> str:
    return f"stage {settings.name!r}"
