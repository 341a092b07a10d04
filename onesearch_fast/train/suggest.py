"""A configuration for a log that nobody has configured yet."""

from __future__ import annotations

from dataclasses import replace

from onesearch_fast.data.split import TrainLog
from onesearch_fast.errors import invalid
from onesearch_fast.train.config import PipelineConfig, StageConfig, real_config


def suggest_config(log: TrainLog) -> PipelineConfig:
    """`real_config` without the tasks that the log has no rows for.

    Where every query is the category path of the item it led to, the queries' own semantic IDs are
    left out: they say nothing that the words do not say.

    Raises ValueError for a log without events.
    """
    if not any(history.events for history in log.histories):
        expected, remedy = "clicks or orders to learn from", "add events, or give a config"
        raise invalid("suggest_config", "log", expected, "none", remedy)
    asked = [
        (event.query, " > ".join(log.items[event.row].category))
        for history in log.histories
        for event in history.events
        if event.query is not None
    ]
    queries_are_paths = all(query == path for query, path in asked)
    config = real_config(query_sids=bool(asked) and not queries_are_paths)
    impossible = set() if asked else {"search", "query_to_item", "query_sid_to_item"}
    if not any(item.category for item in log.items):
        impossible |= {"title_to_category", "query_to_category", "sid_to_category"}
    if not any(item.title for item in log.items):
        impossible |= {"title_to_sid", "title_to_category"}
    stages = (_without(stage, impossible) for stage in config.stages)
    return replace(config, stages=tuple(stage for stage in stages if stage is not None))


def _without(stage: StageConfig, impossible: set[str]) -> StageConfig | None:
    tasks = {task: visits for task, visits in stage.tasks.items() if task not in impossible}
    return replace(stage, tasks=tasks) if tasks else None
