"""Targets from a file, in place of the split's own: for logs whose last events were withheld."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from onesearch_fast.data.readers.native import jsonl_rows, raise_problem
from onesearch_fast.data.records import Dataset, category_text
from onesearch_fast.data.split import (
    NEXT_ITEM,
    SEARCH,
    EvalCase,
    Event,
    Split,
    TrainLog,
    full_histories,
)
from onesearch_fast.errors import DataError, complaint, invalid


@dataclass(frozen=True)
class Holdout:
    """A split whose reported cases come from a file, and how many of its rows were left out.

    num_repeats: the item stands in the user's history already, and no history item is ever
    returned. num_stop: the user is of the group "stop", on which parameters were chosen.
    """

    split: Split
    num_repeats: int
    num_stop: int


@dataclass(frozen=True)
class _Row:
    place: str
    user_id: str
    item_id: str
    query: str | None
    time: int | None


def with_holdout(split: Split, dataset: Dataset, path: str | os.PathLike[str]) -> Holdout:
    """Replaces the reported cases of `split` by the targets of a JSONL file.

    Each line is {"user_id", "item_id", "query"?, "time"?}: this user's next item, for this query.
    The history is everything of the user in `dataset` up to `time` (all of it without a time), the
    former target included; where it ends with the very item of the row, that event is the target
    itself and is left out. Without a query a row is a case of "next_item" only, except in data
    whose every query is the category path of its item: there the item's path is the query.

    The cases of the group "stop" stay as they are, and users of that group are not reported; the
    `TrainLog` stays as well, so that rankers fitted on `split.log` can be compared.

    Raises DataError, naming file and line, for a row that is not such an object, an unknown user or
    item, a time inside what was trained on, or a row that stands twice; and for a file that leaves
    nothing to report.
    """
    rows = _rows(Path(path))
    builder = _CaseBuilder(split.log, dataset)
    stop = {case.user_id for old in split.cases.values() for case in old if case.group == "stop"}
    made = [(row.user_id, builder.case(row)) for row in rows]
    reported = [case for user_id, case in made if user_id not in stop]
    cases = [case for case in reported if case is not None]
    by_task = {
        SEARCH: [case for case in cases if case.query is not None],
        NEXT_ITEM: [replace(case, query=None, query_count=0) for case in cases],
    }
    merged = {
        task: (*(case for case in old if case.group == "stop"), *by_task[task])
        for task, old in split.cases.items()
    }
    found = Holdout(
        replace(split, cases=merged), len(reported) - len(cases), len(made) - len(reported)
    )
    if not cases:
        got = f"{found.num_repeats} in their user's history, {found.num_stop} of stopping users"
        raise invalid(str(path), "rows", "at least one to report", got, kind=DataError)
    return found


class _CaseBuilder:
    """Turns rows of the file into cases; holds the lookups that all rows share."""

    def __init__(self, log: TrainLog, dataset: Dataset) -> None:
        self._items = dataset.items
        self._rows = {item.item_id: row for row, item in enumerate(dataset.items)}
        self._histories = full_histories(dataset)
        self._num_trained = {history.user_id: len(history.events) for history in log.histories}
        self._query_is_category = _query_is_category(dataset, self._rows)
        events = [event for history in log.histories for event in history.events]
        self._item_counts = Counter(event.row for event in events)
        self._query_counts = Counter(event.query for event in events if event.query is not None)

    def case(self, row: _Row) -> EvalCase | None:
        """The row as a case; None when the user has the item already."""
        if row.item_id not in self._rows:
            raise _refuse(row.place, "item_id", "an item of the catalogue", row.item_id)
        if row.user_id not in self._histories:
            raise _refuse(row.place, "user_id", "a user of the data folder", row.user_id)
        target = self._rows[row.item_id]
        user = self._histories[row.user_id]
        history = _history(user.events, target, row.time)
        if len(history) < self._num_trained.get(row.user_id, 0):
            expected = "a target that comes after everything trained on"
            raise _refuse(row.place, "time", expected, f"user {row.user_id!r} at {row.time}")
        if any(event.row == target for event in history):
            return None
        query = row.query
        if query is None and self._query_is_category:
            query = category_text(self._items[target].category) or None
        return EvalCase(
            user_id=row.user_id,
            profile=user.profile,
            history=history,
            query=query,
            query_kind=None,
            target_row=target,
            group="report",
            query_count=0 if query is None else self._query_counts[query],
            item_count=self._item_counts[target],
        )


def _history(events: Sequence[Event], target: int, time: int | None) -> tuple[Event, ...]:
    kept = [event for event in events if time is None or event.time <= time]
    while kept and kept[-1].row == target:
        kept.pop()
    return tuple(kept)


def _query_is_category(dataset: Dataset, rows: Mapping[str, int]) -> bool:
    asked = [
        (interaction.query, category_text(dataset.items[rows[interaction.item_id]].category))
        for interaction in dataset.interactions
        if interaction.query is not None
    ]
    return bool(asked) and all(query == path for query, path in asked)


def _rows(path: Path) -> list[_Row]:
    rows = [_row(place, values) for place, values in jsonl_rows(path, raise_problem)]
    if not rows:
        raise DataError(f"{path}: no rows; give one JSON object with user_id and item_id per line")
    places: dict[_Row, str] = {}
    for row in rows:
        first = places.setdefault(replace(row, place=""), row.place)
        if first != row.place:
            raise _refuse(row.place, "line", "a row of its own", f"the same as {first}")
    return rows


def _row(place: str, value: Mapping[str, Any]) -> _Row:
    query, time = value.get("query"), value.get("time")
    if query is not None and not (isinstance(query, str) and query.strip()):
        raise _refuse(place, "query", "a non-empty string", query)
    if time is not None and (not isinstance(time, int) or isinstance(time, bool)):
        raise _refuse(place, "time", "whole unix seconds", time)
    return _Row(place, _id(place, "user_id", value), _id(place, "item_id", value), query, time)


def _id(place: str, key: str, value: Mapping[str, Any]) -> str:
    given = value.get(key)
    if isinstance(given, bool) or not isinstance(given, (str, int)) or given == "":
        raise _refuse(place, key, "a string or an integer", given)
    return str(given)


def _refuse(place: str, argument: str, expected: str, got: object) -> DataError:
    return DataError(complaint(place, argument, expected, got))
