"""Keyword thoughts: what a query means, in words that products are described by.

They are made offline, as training tasks and as what the teacher of a self-distillation reads. They
are never on the way of a search.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from onesearch_fast.data.split import SESSION_GAP_SECONDS, Event, TrainLog

MAX_KEYWORDS = 8
MAX_PERSONAL_KEYWORDS = 5
SEPARATOR = ", "

Keywords = tuple[str, ...]


@dataclass(frozen=True)
class Asked:
    """A query as one user asked it: what is known of the user from before the session."""

    query: str
    user_id: str
    profile: str | None
    past: tuple[Event, ...]


class ThoughtSource(Protocol):
    """Makes keywords, best first, at most `MAX_KEYWORDS` of them; none where it has nothing to say.

    What it says of an `Asked` may rest on `past` and on other users, never on what this user did in
    this session or later.
    """

    def of_queries(self, queries: Sequence[str]) -> list[Keywords]:
        """Keywords of each query, whoever asks it."""
        ...

    def of_users(self, asked: Sequence[Asked]) -> list[Keywords]:
        """Keywords of each query, calibrated to who asks it."""
        ...


@dataclass(frozen=True, eq=False)
class Thoughts:
    """The keywords of a log.

    Attributes:
        of_query: distinct query of the log -> keywords.
        of_turn: (user id, place in the user's events) -> keywords of the query that stands there.
    """

    of_query: Mapping[str, Keywords]
    of_turn: Mapping[tuple[str, int], Keywords]

    def all_keywords(self) -> list[str]:
        """Every distinct keyword, in the order of its text."""
        kept = (*self.of_query.values(), *self.of_turn.values())
        return sorted({keyword for keywords in kept for keyword in keywords})


def think(log: TrainLog, source: ThoughtSource) -> Thoughts:
    """Asks `source` for every query and every turn of the log."""
    asked: list[Asked] = []
    places: list[tuple[str, int]] = []
    for history in log.histories:
        for place, begin in enumerate(session_begins(history.events)):
            query = history.events[place].query
            if query is not None:
                past = history.events[:begin]
                asked.append(Asked(query, history.user_id, history.profile, past))
                places.append((history.user_id, place))
    queries = sorted({one.query for one in asked})
    of_query = dict(zip(queries, source.of_queries(queries), strict=True))
    of_turn = dict(zip(places, source.of_users(asked), strict=True))
    return Thoughts(of_query, of_turn)


def session_begins(events: Sequence[Event]) -> list[int]:
    """For each event of a user, the place of the first one of its session.

    A session ends with a pause alone, whatever was asked in it: what is calibrated by the past
    should rather know too little of it.
    """
    begins: list[int] = []
    for place, event in enumerate(events):
        goes_on = place > 0 and event.time - events[place - 1].time <= SESSION_GAP_SECONDS
        begins.append(begins[-1] if goes_on else place)
    return begins
