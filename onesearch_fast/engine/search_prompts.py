"""From a request to a prompt: the query's own SID, and as much of the past as fits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from onesearch_fast.data.long_history import LongHistories
from onesearch_fast.data.prompts import Turn
from onesearch_fast.data.user_ids import UserId, UserIds
from onesearch_fast.engine.requests import SearchRequest
from onesearch_fast.engine.served_model import ServedModel
from onesearch_fast.errors import invalid

# A longer query or profile is cut here before anything reads it: no shopper types as much, and the
# prompt keeps only its first tokens anyway.
MAX_CHARACTERS = 1000

Codes = npt.NDArray[np.int32]
TokensBefore = Callable[[int], list[int] | None]


@dataclass(frozen=True, slots=True)
class _Event:
    row: int
    query: str | None
    event: str


@dataclass(frozen=True, slots=True)
class SearchCase:
    """A request as the catalogue sees it: rows for items, texts cut, what is unknown left out.

    Attributes:
        past_items: numbers of the history's items, and of those that a live store took in since,
            of which a prompt can say nothing.
    """

    profile: str | None
    history: tuple[_Event, ...]
    past_items: tuple[int, ...]
    query: str | None


class PromptWriter:
    """Writes requests to a served model as token ids."""

    def __init__(self, served: ServedModel, max_prompt_tokens: int) -> None:
        self._served = served
        self._max_prompt_tokens = max_prompt_tokens
        self._user_ids: UserIds | None = None
        if served.query_items is not None:
            trie = served.trie
            self._user_ids = UserIds(trie.level_sizes, trie.item_codes, served.query_items)

    def case(self, request: SearchRequest) -> SearchCase:
        """Checks a request and finds its items."""
        if not isinstance(request, SearchRequest):
            expected = "SearchRequest objects"
            raise invalid("Searcher", "requests", expected, type(request), kind=TypeError)
        request.check()
        if request.user is None:
            return SearchCase(None, (), (), _cut(request.query))
        past = request.user.history
        items = self._served.items
        numbers = items.numbers([event.item_id for event in past]).tolist()
        history = tuple(
            _Event(number, _cut(event.query), event.event)
            for number, event in zip(numbers, past, strict=True)
            if 0 <= number < len(items)
        )
        profile, query = _cut(request.user.profile), _cut(request.query)
        return SearchCase(profile, history, tuple(numbers), query)

    def histories(self, cases: Sequence[SearchCase]) -> LongHistories | None:
        """The pasts of the cases, by their numbers, where prompts hold vectors of them."""
        prompts, trie = self._served.prompts, self._served.trie
        if prompts.config.long_history is None:
            return None
        pasts = ((number, case.history) for number, case in enumerate(cases))
        first_token = prompts.tokenizer.vocab_size
        return LongHistories.make(prompts.config.long_history, first_token, pasts, trie.item_codes)

    def prompts(
        self, cases: Sequence[SearchCase], histories: LongHistories | None = None
    ) -> list[list[int]]:
        """The prompt of each case; every text in sight is encoded once.

        histories: of the same cases, from `histories`.
        """
        codes_of = self._query_codes(cases)
        return [
            self._prompt(case, codes_of, partial(_tokens_before, histories, number))
            for number, case in enumerate(cases)
        ]

    def _query_codes(self, cases: Sequence[SearchCase]) -> dict[str, Codes]:
        texts: dict[str, None] = {}
        for case in cases:
            asked = (case.query, *(event.query for event in self._shown(case)))
            texts.update((text, None) for text in asked if text is not None)
        if not texts:
            return {}
        vectors = self._served.text_encoder.encode(list(texts))
        return dict(zip(texts, self._served.codebooks.encode(vectors), strict=True))

    def _prompt(
        self, case: SearchCase, codes_of: dict[str, Codes], tokens_before: TokensBefore
    ) -> list[int]:
        """The prompt's token ids; the oldest half of a past that does not fit goes, repeatedly."""
        past = self._shown(case)
        item_codes = self._served.trie.item_codes([event.row for event in past])
        user_ids = self._ids_before(case)
        first, asked_at = len(case.history) - len(past), len(case.history)
        tokens = [tokens_before(at) for at in range(first, asked_at)]
        known = zip(past, item_codes, user_ids[first:-1], tokens, strict=True)
        turns = [_turn(*one, codes_of) for one in known]
        while True:
            ids = self._render(case, turns, codes_of, user_ids[-1], tokens_before(asked_at))
            if len(ids) <= self._max_prompt_tokens or not turns:
                return ids
            turns = turns[len(turns) // 2 + 1 :]

    def _shown(self, case: SearchCase) -> tuple[_Event, ...]:
        """The past that a prompt can show; a long one costs no more than this."""
        most = self._served.prompts.config.max_history_events
        return case.history[max(0, len(case.history) - most) :]

    def _ids_before(self, case: SearchCase) -> list[UserId | None]:
        """The user's id before each past event, and now; None where prompts show none."""
        queries = [*(event.query for event in case.history), case.query]
        if self._user_ids is None:
            return [None] * len(queries)
        return self._user_ids.before_each([event.row for event in case.history], queries)

    def _render(
        self,
        case: SearchCase,
        turns: Sequence[Turn],
        codes_of: dict[str, Codes],
        user_id: UserId | None,
        tokens: list[int] | None,
    ) -> list[int]:
        prompts = self._served.prompts
        if case.query is None:
            return prompts.next_item_prompt(case.profile, turns, user_id, tokens)
        query_codes = codes_of[case.query]
        return prompts.search_prompt(case.profile, turns, case.query, query_codes, user_id, tokens)


def past_items(cases: Sequence[SearchCase]) -> npt.NDArray[np.int64]:
    """[case, event] numbers of the items of the past, padded with -1."""
    past = [case.past_items for case in cases]
    numbers = np.full((len(past), max(map(len, past))), -1, dtype=np.int64)
    for line, one in zip(numbers, past, strict=True):
        line[: len(one)] = one
    return numbers


def _tokens_before(histories: LongHistories | None, case: int, num_events: int) -> list[int] | None:
    return None if histories is None else histories.tokens(case, num_events)


def _turn(
    event: _Event,
    codes: Codes,
    user_id: UserId | None,
    tokens: list[int] | None,
    codes_of: dict[str, Codes],
) -> Turn:
    query_codes = None if event.query is None else codes_of[event.query]
    return Turn(codes, event.query, query_codes, user_id=user_id, long_history=tokens)


def _cut(text: str | None) -> str | None:
    """What is read of a text; None for one that says nothing."""
    return text[:MAX_CHARACTERS] if text and text.strip() else None
