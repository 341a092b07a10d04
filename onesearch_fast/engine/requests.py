"""What a search is asked, and what it answers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from onesearch_fast.data.records import POSITIVE_EVENTS
from onesearch_fast.engine.deadline import one_deadline_per_request
from onesearch_fast.engine.filters import FilterLike
from onesearch_fast.engine.numbers import whole_number
from onesearch_fast.engine.search_batch import MAX_BEAMS
from onesearch_fast.engine.statistics import GenerateStats
from onesearch_fast.errors import invalid
from onesearch_fast.index.expressions import condition_of


@dataclass(frozen=True, slots=True)
class PastEvent:
    """An item the user took, the query it answered, if any, and how: "click" or "order"."""

    item_id: str
    query: str | None = None
    event: str = "click"


@dataclass(frozen=True, slots=True)
class UserContext:
    """Who asks: a profile text, and past events, oldest first."""

    profile: str | None = None
    history: Sequence[PastEvent] = ()

    @classmethod
    def from_json(cls, value: Any) -> UserContext:
        """From {"profile": text, "history": [event, ...]}.

        An event is an item's id, or {"item_id": id, "query": text, "event": "click" or "order"}.
        """
        fields = _object("user", value, {"profile", "history"})
        history = fields.get("history")
        if history is None:
            history = []
        if not isinstance(history, list):
            raise _bad("user.history", "a list of past events", history)
        return cls(
            _text("user.profile", fields.get("profile")), tuple(_past_event(e) for e in history)
        )


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """One question. Without a query it asks for the user's next item.

    Attributes:
        query, user: what is asked, and by whom.
        filter, num_beams, deadline_ms: as of `Searcher.search`, for this request alone; None for
            what the call says.
    """

    query: str | None = None
    user: UserContext | None = None
    filter: FilterLike | None = None
    num_beams: int | None = None
    deadline_ms: float | None = None

    @classmethod
    def from_json(cls, value: Any) -> SearchRequest:
        """From a text alone, or an object with any of these: {"query": text, "user": {...},
        "filter": text, "num_beams": number, "deadline_ms": number}.
        """
        if isinstance(value, str):
            return cls(value)
        fields = _object("request", value, {field.name for field in dataclasses.fields(cls)})
        user = fields.get("user")
        return cls(
            _text("query", fields.get("query")),
            None if user is None else UserContext.from_json(user),
            _text("filter", fields.get("filter")),
            num_beams=fields.get("num_beams"),
            deadline_ms=fields.get("deadline_ms"),
        )

    def check(self) -> None:
        """Raises unless every text is one, a query says something, and settings are in range."""
        if isinstance(self.filter, str):
            condition_of(self.filter)
        if self.num_beams is not None:
            whole_number("SearchRequest", "num_beams", self.num_beams, 1, MAX_BEAMS)
        one_deadline_per_request("SearchRequest", self.deadline_ms, 1)
        _check_text("query", self.query)
        if self.query is not None and not self.query.strip():
            remedy = "leave the query out to ask for the user's next item"
            raise _bad("query", "a text with something in it", self.query, remedy)
        if self.user is None:
            return
        _check_type("user", self.user, UserContext, "UserContext.from_json reads plain objects")
        _check_text("user.profile", self.user.profile)
        _check_type("user.history", self.user.history, Sequence, "give a list, oldest first")
        for event in self.user.history:
            _check_type("user.history", event, PastEvent, "wrap ids as PastEvent(item_id)")
            _check_type("user.history.item_id", event.item_id, str, "item ids are texts here")
            _check_text("user.history", event.query)
            if event.event not in POSITIVE_EVENTS:
                expected = " or ".join(map(repr, POSITIVE_EVENTS))
                raise _bad("user.history.event", expected, event.event)


@dataclass(frozen=True, slots=True)
class Hit:
    """One item found.

    Attributes:
        item_id: the catalogue's id.
        score: of the item's SID, a sum of log-probabilities in nats; the order of hits also looks
            at the item's share of its SID.
        sid: the codes of its semantic ID, local to their levels.
        rank: the SID's number in the trie.
        reward: what the searcher's `Reranker` gave it; None where there is none, or for hits
            behind those it sees.
    """

    item_id: str
    score: float
    sid: tuple[int, ...]
    rank: int
    reward: float | None = None


@dataclass(frozen=True, slots=True)
class SearchStats:
    """Where the time of an answer went, in seconds; shared by the requests of one batch.

    Attributes:
        encoding: texts to prompts, for all requests of the call.
        generation: the engine's own account.
        expansion: SIDs to items.
        reranking: of this request.
    """

    encoding: float
    generation: GenerateStats
    expansion: float
    reranking: float


@dataclass(frozen=True, slots=True)
class SearchAnswer:
    """What was found for one request.

    Attributes:
        hits: best first.
        complete: False where a deadline cut the search short; `levels_scored` levels of the SIDs
            were then decided by the model, and the hits are a guess from those.
        dead: True where nothing was found because the model's logits are no numbers.
        levels_scored: all, for a complete answer.
        stats: where the time went.
    """

    hits: tuple[Hit, ...]
    complete: bool
    dead: bool
    levels_scored: int
    stats: SearchStats


def _past_event(value: Any) -> PastEvent:
    if isinstance(value, str):
        return PastEvent(value)
    fields = _object("user.history", value, {"item_id", "query", "event"})
    item_id = fields.get("item_id")
    if isinstance(item_id, int) and not isinstance(item_id, bool):
        item_id = str(item_id)
    if not isinstance(item_id, str):
        raise _bad("user.history", "an item_id in every event", value)
    query = _text("user.history.query", fields.get("query"))
    return PastEvent(item_id, query, fields.get("event", "click"))


def _object(argument: str, value: Any, keys: set[str]) -> Mapping[str, Any]:
    expected = f"an object with the keys {', '.join(sorted(keys))}"
    if not isinstance(value, dict):
        raise _bad(argument, expected, value)
    if not value.keys() <= keys:
        raise _bad(argument, expected, f"the key {sorted(value.keys() - keys)[0]!r}")
    return value


def _text(argument: str, value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise _bad(argument, "a text", value)
    return value


def _check_type(argument: str, value: object, kind: type, remedy: str) -> None:
    if not isinstance(value, kind):
        expected = f"a {kind.__name__}"
        raise invalid("SearchRequest", argument, expected, type(value), remedy, TypeError)


def _check_text(argument: str, text: str | None) -> None:
    if text is None:
        return
    _check_type(argument, text, str, "give a text, or None")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        got = f"a lone surrogate at character {error.start}"
        remedy = "decode the input as UTF-8 with errors='replace'"
        raise _bad(argument, "valid Unicode", got, remedy) from None


def _bad(argument: str, expected: str, got: object, remedy: str | None = None) -> ValueError:
    return invalid("SearchRequest", argument, expected, got, remedy)
