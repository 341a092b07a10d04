"""User ids from behaviour: a user is written as weighted means of the SIDs of past items.

A user id is two SIDs: of the last events and of the whole past. Both follow from what the user did,
so that a new user has one after the first event, and before it by what others took for the query.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from onesearch_fast.data.split import TrainLog
from onesearch_fast.errors import FormatError, invalid
from onesearch_fast.files import read_json, write_json

RECENT_EVENTS = 5
# A query's most clicked items that are kept: some more than are used, as a user's own clicks are
# taken off before the best are chosen.
_KEPT_ITEMS = 8
# Means of whole numbers that are whole themselves must not be rounded up for a last bit.
_ROUNDING = 1e-9

IntArray = npt.NDArray[np.int32]
UserId = tuple[IntArray, IntArray]  # [num_levels] each: recent, whole past


def behaviour_sid(codes: npt.ArrayLike, level_sizes: Sequence[int]) -> IntArray:
    """The weighted mean of SIDs, level by level.

        sid[l] = min(ceil(sum_i lambda_i codes[i, l]), level_sizes[l] - 1)
        lambda_i = exp(sqrt(i)) / sum_t exp(sqrt(t)),  i = 1 .. events, the latest last

    Args:
        codes: integers [event, level], oldest first; at least one event.

    Source: OneSearch (arXiv 2509.03236), section 3.2.
    """
    past = np.asarray(codes, dtype=np.float64)
    if past.ndim != 2 or past.shape[1] != len(level_sizes) or not len(past):
        expected = f"[event, {len(level_sizes)}] with at least one event"
        raise invalid("behaviour_sid", "codes", expected, past.shape)
    return _rounded_up(np.average(past, axis=0, weights=_weights(len(past))), level_sizes)


@dataclass(frozen=True)
class QueryItems:
    """What was clicked for each query of a log: ((item row, events), ...), the most first."""

    counts: Mapping[str, tuple[tuple[int, int], ...]]

    @classmethod
    def from_log(cls, log: TrainLog) -> QueryItems:
        clicks: dict[str, Counter[int]] = defaultdict(Counter)
        for history in log.histories:
            for event in history.events:
                if event.query is not None:
                    clicks[event.query][event.row] += 1
        return cls({query: _most(counts.items()) for query, counts in sorted(clicks.items())})

    def most_clicked(self, query: str | None, own_rows: Iterable[int] = ()) -> list[int]:
        """Up to RECENT_EVENTS rows, the most clicked last; ties put the lower row last.

        own_rows: items of events that are not to see themselves: each counts one less.
        """
        counts = self.counts.get(query, ()) if query is not None else ()
        own = Counter(own_rows)
        others = [(row, count - own[row]) for row, count in counts]
        best = _most((row, count) for row, count in others if count > 0)
        return [row for row, _ in best[:RECENT_EVENTS]][::-1]

    def save(self, path: str | os.PathLike[str]) -> None:
        write_json(path, self.counts)

    @classmethod
    def load(cls, path: str | os.PathLike[str], num_items: int) -> QueryItems:
        """Opens what `save` wrote; raises FormatError when it is not that."""
        try:
            counts = {
                str(query): tuple((int(row), int(count)) for row, count in pairs)
                for query, pairs in read_json(path).items()
            }
        except (AttributeError, TypeError, ValueError) as error:
            raise FormatError(f"{path}: not a file of clicked items: {error!r}") from error
        rows = {row for pairs in counts.values() for row, _ in pairs}
        if rows and not 0 <= min(rows) <= max(rows) < num_items:
            raise FormatError(f"{path}: rows {min(rows)} to {max(rows)} of {num_items} items")
        return cls(counts)


@dataclass(frozen=True, eq=False)
class UserIds:
    """Makes user ids.

    Attributes:
        codes_of: item rows -> integers [row, level].
        query_items: whose items stand for the past of a user without one.
    """

    level_sizes: tuple[int, ...]
    codes_of: Callable[[Sequence[int]], npt.NDArray[np.int32]]
    query_items: QueryItems

    def before_each(
        self, rows: Sequence[int], queries: Sequence[str | None]
    ) -> list[UserId | None]:
        """The user's id before each event, from earlier events alone.

        Args:
            rows: items of the user's events, oldest first.
            queries: of the events, and then of a question, if there is one.

        Returns:
            One id for each query; None before the first event when nothing is known of its query.
        """
        codes = self.codes_of(rows)
        weights = _weights(len(rows))[:, None]
        sums, totals = np.cumsum(weights * codes, axis=0), np.cumsum(weights, axis=0)
        ids: list[UserId | None] = []
        for at, query in enumerate(queries):
            if at == 0:
                ids.append(self.before_all(query, rows, queries))
                continue
            recent = behaviour_sid(codes[max(0, at - RECENT_EVENTS) : at], self.level_sizes)
            whole = _rounded_up(sums[at - 1] / totals[at - 1], self.level_sizes)
            ids.append((recent, whole))
        return ids

    def before_all(
        self, query: str | None, rows: Sequence[int], queries: Sequence[str | None]
    ) -> UserId | None:
        """The id of a user without a past, by what others took for the query; None by nobody.

        Args:
            rows, queries: of all events of the user: those for this query are not counted, or what
                the user is to take would stand before the question for it.
        """
        asked = zip(rows, queries, strict=False)
        others = self.query_items.most_clicked(query, [row for row, own in asked if own == query])
        if not others:
            return None
        sid = behaviour_sid(self.codes_of(others), self.level_sizes)
        return sid, sid


def _weights(count: int) -> npt.NDArray[np.float64]:
    """exp(sqrt(i)), i = 1 .. count; finite up to 500,000 events."""
    weights: npt.NDArray[np.float64] = np.exp(np.sqrt(np.arange(1.0, count + 1)))
    return weights


def _rounded_up(means: npt.NDArray[np.float64], level_sizes: Sequence[int]) -> IntArray:
    raised = np.ceil(means - _ROUNDING * (1 + means))
    return np.clip(raised, 0, np.asarray(level_sizes) - 1).astype(np.int32)


def _most(counts: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    return tuple(sorted(counts, key=lambda pair: (-pair[1], pair[0]))[:_KEPT_ITEMS])
