"""The six levels of what a user did with an item after a query."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from onesearch_fast.data.cot import session_begins
from onesearch_fast.data.split import TrainLog, UserHistory

# Weights of OneSearch, arXiv 2509.03236, section 3.4; the first three are what is wanted.
ORDERED_IN_SEARCH = 2.0
ORDERED_ELSEWHERE = 1.5
CLICKED = 1.0
SHOWN = 0.5
SAME_CATEGORY = 0.2
OTHER = 0.0


@dataclass(frozen=True)
class Behaviour:
    """What a user did with one item for one query: the item's row and its level's weight."""

    row: int
    level: float


@dataclass(frozen=True)
class QuerySession:
    """One query of one user in one session.

    Attributes:
        begin: the user's events before this place are from before the session.
        wanted: items of the first three levels, the strongest first.
        unwanted: items of the last three, those shown first.
    """

    user: int
    begin: int
    query: str
    wanted: tuple[Behaviour, ...]
    unwanted: tuple[Behaviour, ...]


def query_sessions(log: TrainLog, num_unwanted: int = 8, seed: int = 0) -> list[QuerySession]:
    """Every query session of the log, with up to `num_unwanted` items of the lower levels.

    They are what was shown and not taken, then items of the wanted ones' category that were not
    shown, then any others; the last two kinds are drawn, and fill what is left in equal parts.
    """
    rng = np.random.default_rng(seed)
    shown: dict[tuple[str, str], list[int]] = defaultdict(list)
    for one in log.shown:
        if one.query is not None:
            shown[one.user_id, one.query].append(one.row)
    by_category: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for row, item in enumerate(log.items):
        by_category[item.category].append(row)
    sessions = []
    for user, history in enumerate(log.histories):
        for begin, query, wanted in _wanted(history, log):
            taken = {event.row for event in history.events}
            seen = [r for r in dict.fromkeys(shown[history.user_id, query]) if r not in taken]
            alike = by_category[log.items[wanted[0].row].category]
            unwanted = [Behaviour(row, SHOWN) for row in seen[:num_unwanted]]
            left = num_unwanted - len(unwanted)
            avoid = taken.union(seen)
            unwanted += _drawn(rng, alike, avoid, (left + 1) // 2, SAME_CATEGORY)
            avoid.update(alike)
            everything = range(len(log.items))
            unwanted += _drawn(rng, everything, avoid, num_unwanted - len(unwanted), OTHER)
            sessions.append(QuerySession(user, begin, query, wanted, tuple(unwanted)))
    return sessions


def _wanted(history: UserHistory, log: TrainLog) -> list[tuple[int, str, tuple[Behaviour, ...]]]:
    """(begin, query, wanted items) of each query session of a user."""
    found: dict[tuple[int, str], dict[int, float]] = defaultdict(dict)
    begins = session_begins(history.events)
    for begin, event in zip(begins, history.events, strict=True):
        if event.query is not None:
            level = ORDERED_IN_SEARCH if event.event == "order" else CLICKED
            levels = found[begin, event.query]
            levels[event.row] = max(level, levels.get(event.row, OTHER))
    for begin, event in zip(begins, history.events, strict=True):
        if event.query is not None or event.event != "order":
            continue
        for (start, _), levels in found.items():
            categories = {log.items[row].category for row in levels}
            if start == begin and log.items[event.row].category in categories:
                levels[event.row] = max(ORDERED_ELSEWHERE, levels.get(event.row, OTHER))
    return [
        (begin, query, tuple(sorted(_behaviours(levels), key=lambda one: (-one.level, one.row))))
        for (begin, query), levels in found.items()
    ]


def _behaviours(levels: dict[int, float]) -> list[Behaviour]:
    return [Behaviour(row, level) for row, level in levels.items()]


def _drawn(
    rng: np.random.Generator,
    rows: range | list[int],
    avoid: set[int],
    count: int,
    level: float,
) -> list[Behaviour]:
    """Up to `count` distinct rows that are not to be avoided; a few draws are tried for each."""
    if count < 1 or not len(rows):
        return []
    tried = rng.integers(0, len(rows), size=4 * count).tolist()
    fresh = dict.fromkeys(rows[place] for place in tried if rows[place] not in avoid)
    return [Behaviour(row, level) for row in list(fresh)[:count]]
