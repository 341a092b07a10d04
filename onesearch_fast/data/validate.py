"""Checks a data folder as a whole: every broken row with its place, and what the rest holds."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from onesearch_fast.data.readers import (
    Problem,
    Reader,
    ReadOptions,
    Report,
    Tables,
    find_reader,
    read_options,
)
from onesearch_fast.data.records import EVENTS, POSITIVE_EVENTS, Interaction, Item
from onesearch_fast.data.split import session_starts, user_logs
from onesearch_fast.errors import DataError, invalid

_HAN = re.compile(r"[\u3400-\u9fff\uf900-\ufaff]")
_LATIN = re.compile(r"[A-Za-z\u00c0-\u024f]")


@dataclass(frozen=True, slots=True)
class Statistics:
    """What the sound rows of a folder hold; shares are of the items.

    A history is a user's clicks and orders, an order counted with its click. `title_languages`
    counts titles as latin, chinese, mixed (each over a fifth of the letters), other or empty.
    """

    items: int
    users: int
    events: Mapping[str, int]
    sessions: int
    distinct_queries: int
    judged_queries: int
    history_mean: float
    history_median: float
    history_max: int
    users_with_two_events: int
    share_with_category: float
    share_with_brand: float
    share_with_price: float
    share_in_log: float
    title_languages: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class ValidationReport:
    """The result of `validate_folder`; `problems` holds the first of `num_problems` sentences."""

    form: str
    problems: tuple[str, ...]
    num_problems: int
    warnings: tuple[str, ...]
    statistics: Statistics | None

    @property
    def ok(self) -> bool:
        return self.num_problems == 0

    def as_json(self) -> dict[str, Any]:
        """Plain types for `json`, with "ok" beside the fields."""
        return {"ok": self.ok, **asdict(self)}


def validate_folder(
    path: str | os.PathLike[str],
    *,
    order: str | None = None,
    max_problems: int = 100,
    allow_untitled: bool = False,
) -> ValidationReport:
    """Checks every row of a folder in any known form.

    Args:
        order: as in `read_dataset`.
        max_problems: how many problems to keep as sentences; all are counted.
        allow_untitled: an item without any text is no problem.

    Raises:
        DataError: `path` is not a folder, or no reader knows its form.
        ValueError: an argument out of range.
    """
    if max_problems < 1:
        raise invalid("validate_folder", "max_problems", "at least 1", max_problems)
    reader = find_reader(path)
    options = read_options(reader, order, allow_untitled)
    problems: list[str] = []
    count = 0

    def collect(problem: Problem) -> None:
        nonlocal count
        count += 1
        if count <= max_problems:
            problems.append(str(problem))

    try:
        tables = _tables(reader, Path(path), options, collect)
    except DataError as error:  # forms without a scan stop at their first problem
        return ValidationReport(reader.name, (str(error),), 1, (), None)
    statistics = describe(tables)
    warnings = tuple(_warnings(tables, statistics))
    return ValidationReport(reader.name, tuple(problems), count, warnings, statistics)


def describe(tables: Tables) -> Statistics:
    """Counts and shares of some tables. Cost: O(n log n) in the rows of the log."""
    logs = user_logs(tables.interactions)
    users = {user.user_id for user in tables.users} | logs.keys()
    starts = {user: session_starts(log) for user, log in logs.items()}
    lengths = [_history_length(log, starts[user]) for user, log in logs.items()]
    lengths += [0] * (len(users) - len(logs))
    events = Counter(row.event for row in tables.interactions)
    return Statistics(
        items=len(tables.items),
        users=len(users),
        events={event: events[event] for event in EVENTS},
        sessions=sum(len(set(positions)) for positions in starts.values()),
        distinct_queries=len({row.query for row in tables.interactions} - {None}),
        judged_queries=len(tables.judged_queries),
        history_mean=float(np.mean(lengths)) if lengths else 0.0,
        history_median=float(np.median(lengths)) if lengths else 0.0,
        history_max=max(lengths, default=0),
        users_with_two_events=sum(length >= 2 for length in lengths),
        share_with_category=_share([bool(item.category) for item in tables.items]),
        share_with_brand=_share([bool(item.brand) for item in tables.items]),
        share_with_price=_share([item.price is not None for item in tables.items]),
        share_in_log=_share_in_log(tables.items, tables.interactions),
        title_languages=dict(Counter(title_language(item.title) for item in tables.items)),
    )


def title_language(title: str) -> str:
    """One of latin, chinese, mixed (each over a fifth of the letters), other, empty."""
    han, latin = len(_HAN.findall(title)), len(_LATIN.findall(title))
    if not title.strip():
        return "empty"
    if han + latin == 0:
        return "other"
    if min(han, latin) * 5 > han + latin:
        return "mixed"
    return "chinese" if han > latin else "latin"


def _tables(reader: Reader, folder: Path, options: ReadOptions, collect: Report) -> Tables:
    if reader.scan is not None:
        return reader.scan(folder, options, collect)
    dataset = reader.read(folder, options)
    return Tables(dataset.items, dataset.users, dataset.interactions, dataset.judged_queries, {})


def _history_length(log: Sequence[Interaction], starts: Sequence[int]) -> int:
    pairs = zip(log, starts, strict=True)
    return len({(start, row.item_id) for row, start in pairs if row.event in POSITIVE_EVENTS})


def _share(flags: Sequence[bool]) -> float:
    return sum(flags) / len(flags) if flags else 0.0


def _share_in_log(items: Sequence[Item], interactions: Sequence[Interaction]) -> float:
    seen = {row.item_id for row in interactions if row.event in POSITIVE_EVENTS}
    return _share([item.item_id in seen for item in items])


def _warnings(tables: Tables, statistics: Statistics) -> list[str]:
    warnings = [
        f"{table}: columns that nobody reads: {', '.join(columns)}"
        for table, columns in tables.unread_columns.items()
    ]
    if tables.interactions and statistics.distinct_queries == 0:
        warnings.append("interactions: no query anywhere; search cannot be trained or evaluated")
    if statistics.users_with_two_events == 0:
        warnings.append("interactions: no user has two clicks or orders; nothing can be held out")
    if tables.items and statistics.share_with_category == 0.0:
        warnings.append("items: no category anywhere; category baselines and tasks are left out")
    return warnings
