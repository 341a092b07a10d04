"""The one split of a log into what may be fitted (`TrainLog`) and what is asked (`EvalCase`)."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from onesearch_fast.data.records import POSITIVE_EVENTS, Dataset, Interaction, Item
from onesearch_fast.errors import invalid

# Without session ids, the same query asked again after this pause starts a new session.
SESSION_GAP_SECONDS = 1800

SEARCH = "search"
NEXT_ITEM = "next_item"


@dataclass(frozen=True, slots=True)
class Event:
    """A click or an order. `row` indexes the catalogue; an order stands for its click as well."""

    time: int
    row: int
    event: str
    query: str | None


@dataclass(frozen=True, slots=True)
class UserHistory:
    """One user's positive events, oldest first."""

    user_id: str
    profile: str | None
    events: tuple[Event, ...]


@dataclass(frozen=True, slots=True)
class Impression:
    """An item that a user was shown; `row` indexes the catalogue."""

    user_id: str
    time: int
    row: int
    query: str | None


@dataclass(frozen=True, slots=True)
class TrainLog:
    """All that may be fitted on: the catalogue, and the histories without anything held out.

    `shown` holds the impressions, user by user, oldest first; a log without any is a log of clicks.
    """

    items: tuple[Item, ...]
    histories: tuple[UserHistory, ...]
    shown: tuple[Impression, ...] = ()

    def content_hash(self) -> str:
        """Hex SHA-256 of the whole content; equal logs give equal hashes on every machine."""
        digest = hashlib.sha256()
        for item in self.items:
            attributes = {kind: list(values) for kind, values in item.attributes.items()}
            fields = [item.item_id, item.title, item.brand, item.category, attributes]
            _absorb(digest, [*fields, item.price, item.in_stock])
        for history in self.histories:
            events = [(e.time, e.row, e.event, e.query) for e in history.events]
            _absorb(digest, [history.user_id, history.profile, events])
        for one in self.shown:
            _absorb(digest, [one.user_id, one.time, one.row, one.query])
        return digest.hexdigest()

    def item_popularity(self) -> npt.NDArray[np.float64]:
        """float64 [num_items]: one for each event of the item, and one more when it is an order."""
        counts = np.zeros(len(self.items), dtype=np.float64)
        for history in self.histories:
            for event in history.events:
                counts[event.row] += 2.0 if event.event == "order" else 1.0
        return counts


@dataclass(frozen=True, slots=True)
class EvalCase:
    """One question with its answer: which item did this user take next (for this query)?

    `history` ends before the session of the target began. `query_count` and `item_count` are how
    often the query's text and the target item occur in the `TrainLog`.
    """

    user_id: str
    profile: str | None
    history: tuple[Event, ...]
    query: str | None
    query_kind: str | None
    target_row: int
    group: str
    query_count: int
    item_count: int


@dataclass(frozen=True, slots=True)
class Split:
    """A `TrainLog` and the held-out cases of each task, "search" and "next_item"."""

    name: str
    log: TrainLog
    cases: Mapping[str, tuple[EvalCase, ...]]


def leave_last_out(dataset: Dataset, stop_fraction: float = 0.1) -> Split:
    """Holds out one positive event per user, with everything from the start of its session on.

    A user's log is ordered by time, ties in the order of the data set. One (session, item) is one
    event: an order merges with its click. The target is the user's last event on an item new to the
    user, among events with a query when the user has any. Whatever comes at or after the first row
    of the target's session, shows included, is in neither the `TrainLog` nor the case's history.
    Users with fewer than two events give history only.

    Args:
        stop_fraction: share of users, by a fixed hash of the user id, whose cases are in the group
            "stop" (early stopping, tuning); the others are "report". In [0, 1].

    Returns:
        Split with the same targets under "search" (those with a query) and "next_item" (all of
        them, without their query).

    Cost: O(n log n) in the rows of the log.
    """
    if not 0.0 <= stop_fraction <= 1.0:
        raise invalid("leave_last_out", "stop_fraction", "a share in [0, 1]", stop_fraction)
    histories, held_out = _hold_out(dataset)
    ends = {history.user_id: target.session_start for history, target in held_out}
    log = TrainLog(dataset.items, tuple(histories), tuple(_shown(dataset, ends)))
    return Split(dataset.name, log, _cases(log, held_out, stop_fraction))


def cases_of_newcomers(log: TrainLog, dataset: Dataset) -> Mapping[str, tuple[EvalCase, ...]]:
    """What `leave_last_out` asks of users whom `log` does not hold, by task.

    The cases are all of the group "report", and their counts are those of `log`. A newcomer's
    history is known at the moment of the question and was never fitted on.

    Raises ValueError when `dataset` has other items than `log`, or shares a user with it.
    """
    where = "cases_of_newcomers"
    if dataset.items != log.items:
        raise invalid(where, "dataset", "the items of the log", "others")
    users = {user.user_id for user in dataset.users} | set(user_logs(dataset.interactions))
    shared = users & {history.user_id for history in log.histories}
    if shared:
        got = f"{len(shared)} of them, such as {min(shared)!r}"
        raise invalid(where, "dataset", "no user of the log", got)
    return _cases(log, _hold_out(dataset)[1], stop_fraction=0.0)


def full_histories(dataset: Dataset) -> dict[str, UserHistory]:
    """Every user's positive events with nothing held out, an order merged with its click.

    For questions about what comes after the log; nothing may be fitted on it.
    """
    profiles = {user.user_id: user.profile for user in dataset.users}
    return {
        user_id: UserHistory(
            user_id, profiles.get(user_id), tuple(positive.event for positive in positives)
        )
        for user_id, positives in _positives_by_user(dataset).items()
    }


def user_group(user_id: str, stop_fraction: float) -> str:
    """ "stop" for a fixed pseudo-random `stop_fraction` of all user ids, else "report"."""
    digest = hashlib.blake2b(user_id.encode(), digest_size=8).digest()
    return "stop" if int.from_bytes(digest, "big") < stop_fraction * 2**64 else "report"


@dataclass(frozen=True, slots=True)
class _Positive:
    """An event, with the place in the user's log where it stands and where its session begins."""

    event: Event
    query_kind: str | None
    position: int
    session_start: int


def _positives_by_user(dataset: Dataset) -> dict[str, list[_Positive]]:
    """Users of the table first, in its order; then those that only the log knows."""
    rows = {item.item_id: row for row, item in enumerate(dataset.items)}
    logs = user_logs(dataset.interactions)
    users = dict.fromkeys((*(user.user_id for user in dataset.users), *logs))
    return {user_id: _positives(logs.get(user_id, []), rows) for user_id in users}


def _absorb(digest: hashlib._Hash, value: object) -> None:
    text = json.dumps(value, ensure_ascii=True, sort_keys=True, separators=(",", ":"))
    digest.update(text.encode() + b"\n")


def user_logs(interactions: Sequence[Interaction]) -> dict[str, list[Interaction]]:
    """Each user's rows by time, ties in the order given; users in the order of their first row."""
    logs: dict[str, list[Interaction]] = {}
    for interaction in interactions:
        logs.setdefault(interaction.user_id, []).append(interaction)
    for log in logs.values():
        log.sort(key=lambda interaction: interaction.time)  # stable
    return logs


def session_starts(interactions: Sequence[Interaction]) -> list[int]:
    """For each row of one user's ordered log, the position of the first row of its session.

    Rows without a session id form sessions of one query without a pause over SESSION_GAP_SECONDS.
    """
    starts: list[int] = []
    by_id: dict[str, int] = {}
    open_start, open_query, open_time = -1, None, 0
    for position, row in enumerate(interactions):
        if row.session_id is not None:
            starts.append(by_id.setdefault(row.session_id, position))
            continue
        paused = row.time - open_time > SESSION_GAP_SECONDS
        if open_start < 0 or row.query != open_query or paused:
            open_start, open_query = position, row.query
        open_time = row.time
        starts.append(open_start)
    return starts


def _positives(interactions: Sequence[Interaction], rows: Mapping[str, int]) -> list[_Positive]:
    """One per (session, item), at the time of its first positive row, in order."""
    merged: dict[tuple[int, str], _Positive] = {}
    for position, (row, start) in enumerate(
        zip(interactions, session_starts(interactions), strict=True)
    ):
        if row.event not in POSITIVE_EVENTS:
            continue
        first = merged.get((start, row.item_id))
        if first is None:
            event = Event(row.time, rows[row.item_id], row.event, row.query)
            merged[start, row.item_id] = _Positive(event, row.query_kind, position, start)
        elif row.event == "order":
            merged[start, row.item_id] = replace(first, event=replace(first.event, event="order"))
    return list(merged.values())


def _shown(dataset: Dataset, ends: Mapping[str, int]) -> Iterator[Impression]:
    """Impressions from before what is held out begins: that of a user at row `ends` of their log.

    An earlier impression of the target itself stays: without it the log would say what it is.
    """
    rows = {item.item_id: row for row, item in enumerate(dataset.items)}
    for user_id, log in user_logs(dataset.interactions).items():
        for one in log[: ends.get(user_id)]:
            if one.event == "show":
                yield Impression(user_id, one.time, rows[one.item_id], one.query)


def _target(positives: Sequence[_Positive]) -> _Positive | None:
    if len(positives) < 2:
        return None
    seen: set[int] = set()
    fresh: list[_Positive] = []
    for positive in positives:
        if positive.event.row not in seen:
            fresh.append(positive)
            seen.add(positive.event.row)
    asked = [positive for positive in fresh if positive.event.query is not None]
    return (asked or fresh)[-1]


def _hold_out(dataset: Dataset) -> tuple[list[UserHistory], list[tuple[UserHistory, _Positive]]]:
    """What stays of each user's events where any does, and each target with what stays before."""
    profiles = {user.user_id: user.profile for user in dataset.users}
    histories: list[UserHistory] = []
    held_out: list[tuple[UserHistory, _Positive]] = []
    for user_id, positives in _positives_by_user(dataset).items():
        target = _target(positives)
        kept = positives if target is None else _before(positives, target.session_start)
        events = tuple(positive.event for positive in kept)
        history = UserHistory(user_id, profiles.get(user_id), events)
        if events:
            histories.append(history)
        if target is not None:
            held_out.append((history, target))
    return histories, held_out


def _before(positives: Sequence[_Positive], position: int) -> list[_Positive]:
    return [positive for positive in positives if positive.position < position]


def _cases(
    log: TrainLog, held_out: Sequence[tuple[UserHistory, _Positive]], stop_fraction: float
) -> dict[str, tuple[EvalCase, ...]]:
    """The targets by task; without their query they are what is taken next."""
    cases = tuple(_questions(log, held_out, stop_fraction))
    without_query = tuple(
        replace(case, query=None, query_kind=None, query_count=0) for case in cases
    )
    return {
        SEARCH: tuple(case for case in cases if case.query is not None),
        NEXT_ITEM: without_query,
    }


def _questions(
    log: TrainLog, held_out: Sequence[tuple[UserHistory, _Positive]], stop_fraction: float
) -> Iterator[EvalCase]:
    events = [event for history in log.histories for event in history.events]
    queries = Counter(event.query for event in events if event.query is not None)
    items = Counter(event.row for event in events)
    for history, target in held_out:
        event = target.event
        yield EvalCase(
            user_id=history.user_id,
            profile=history.profile,
            history=history.events,
            query=event.query,
            query_kind=target.query_kind if event.query is not None else None,
            target_row=event.row,
            group=user_group(history.user_id, stop_fraction),
            query_count=queries[event.query] if event.query is not None else 0,
            item_count=items[event.row],
        )
