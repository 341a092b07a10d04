"""`Searcher`: text in, items out."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from onesearch_fast.data.prompts import Turn
from onesearch_fast.engine.engine import Engine
from onesearch_fast.engine.expansion import ExpansionRule, RankedItems
from onesearch_fast.engine.filters import FilterArgument, one_per_request
from onesearch_fast.engine.numbers import whole_number
from onesearch_fast.engine.requests import Hit, SearchRequest
from onesearch_fast.engine.result import GenerateResult
from onesearch_fast.engine.served_model import ServedModel
from onesearch_fast.errors import invalid
from onesearch_fast.index.item_table import ItemRow, ItemTable
from onesearch_fast.index.sid_trie import SidTrie

# A longer query or profile is cut here before anything reads it: no shopper types as much, and the
# prompt keeps only its first tokens anyway.
MAX_CHARACTERS = 1000

Codes = npt.NDArray[np.int32]
OutOfStock = Literal["last", "drop", "keep"]


@dataclass(frozen=True, slots=True)
class _Event:
    row: int
    query: str | None


@dataclass(frozen=True, slots=True)
class _Case:
    profile: str | None
    history: tuple[_Event, ...]
    query: str | None


@dataclass(frozen=True)
class _Found:
    """One batch, searched: where its requests stand in the call, its beams, and their items."""

    positions: list[int]
    beams: GenerateResult
    items: RankedItems


class Searcher:
    """Answers queries from a served model folder. Safe to use from many threads.

    A query is encoded to its own SID, written into a prompt with the user's past, and the model's
    SIDs are expanded to items: SIDs in beam order; within one, items in stock first, then by prior;
    at most `items_per_sid` of each. An item has one SID, so none comes twice.
    """

    def __init__(
        self,
        served: ServedModel,
        engine: Engine,
        items_per_sid: int = 5,
        out_of_stock: OutOfStock = "last",
    ) -> None:
        if out_of_stock not in ("last", "drop", "keep"):
            raise _bad("out_of_stock", "'last', 'drop' or 'keep'", out_of_stock)
        self._served = served
        self._engine = engine
        self._items_per_sid = whole_number("Searcher", "items_per_sid", items_per_sid, 1)
        self._out_of_stock = out_of_stock

    @classmethod
    def load(
        cls,
        folder: str | os.PathLike[str],
        device: str | torch.device = "cpu",
        dtype: str | torch.dtype = "float32",
        items_per_sid: int = 5,
        out_of_stock: OutOfStock = "last",
        verify: bool = True,
    ) -> Searcher:
        """Opens a served model folder.

        Args:
            folder: written by `ServedModel.write`.
            device, dtype: where and in what the model runs.
            items_per_sid: most items of one SID in an answer.
            out_of_stock: items that cannot be bought come "last" within their SID, are left out
                ("drop"), or stand where their prior puts them ("keep").
            verify: read every file and compare it with the manifest; else names and sizes only.

        Raises:
            ServedModelError: naming a file that is missing, altered or unexpected.
        """
        served = ServedModel.load(folder, verify)
        engine = Engine.from_pretrained(served.folder, served.trie, device, dtype)
        return cls(served, engine, items_per_sid, out_of_stock)

    @property
    def items(self) -> ItemTable:
        """The catalogue."""
        return self._served.items

    @property
    def item_ids(self) -> list[str]:
        """Item id of each row of `items`."""
        return self.items.item_ids

    @property
    def training_log(self) -> str | None:
        """Hash of the log it was trained on, where the folder says it."""
        return self._served.training_log

    @property
    def trie(self) -> SidTrie:
        """The trie whose item ids are rows of `items`; filters are made with `trie.filter`."""
        return self._served.trie

    @property
    def engine(self) -> Engine:
        """The engine, whose weights may be updated while searches run."""
        return self._engine

    def item(self, item_id: str) -> ItemRow:
        """What the catalogue says of an item; raises KeyError when it is not there."""
        row = int(self.items.rows([item_id])[0])
        if row < 0:
            raise KeyError(item_id)
        return self.items[row]

    def search(
        self,
        requests: Sequence[SearchRequest],
        k: int = 50,
        offset: int = 0,
        num_beams: int = 256,
        filter: FilterArgument = None,
        remove_history: bool = True,
    ) -> list[list[Hit]]:
        """The items [offset, offset + k) of each request's answer, best first.

        Args:
            requests: queries with their users; without a query, the user's next item is asked for.
                Texts are read up to 1,000 characters, a past that does not fit the model from its
                end. Past items that the catalogue does not hold are left out of the prompt.
            k: most hits of a request.
            offset: hits to pass over, for a second page; `num_beams` bounds all pages together.
            num_beams: SIDs generated for each request; an answer has fewer than `k` hits when their
                items are fewer.
            filter: `searcher.trie.filter(...)` over rows of `searcher.items`, one or one a request.
            remove_history: leave out what is in the user's past.

        Raises:
            ValueError: a blank query, text that is not valid Unicode, a number out of range.
        """
        k, offset = (
            whole_number("Searcher", "k", k, 1),
            whole_number("Searcher", "offset", offset, 0),
        )
        cases = [self._case(request) for request in requests]
        hits: list[list[Hit]] = [[] for _ in cases]
        ids = self.item_ids
        for found in self._find(cases, offset + k, num_beams, filter, remove_history):
            for line, position in enumerate(found.positions):
                hits[position] = _hits(found, line, offset, ids)
        return hits

    def search_rows(
        self,
        requests: Sequence[SearchRequest],
        k: int,
        num_beams: int = 64,
        filter: FilterArgument = None,
        remove_history: bool = True,
    ) -> npt.NDArray[np.int32]:
        """`search` as rows of `items`: int32 [request, k], best first, padded with -1.

        The way to put tens of thousands of requests: it makes no object per hit.
        """
        k = whole_number("Searcher", "k", k, 1)
        cases = [self._case(request) for request in requests]
        rows = np.full((len(cases), k), -1, dtype=np.int32)
        for found in self._find(cases, k, num_beams, filter, remove_history):
            width = found.items.item_ids.shape[1]
            rows[found.positions, :width] = found.items.item_ids
        return rows

    def valid_sid_rates(
        self, requests: Sequence[SearchRequest], num_beams: int
    ) -> npt.NDArray[np.float64]:
        """Share of each request's unconstrained beams that are SIDs of the catalogue: [request]."""
        cases = [self._case(request) for request in requests]
        rates = np.empty(len(cases), dtype=np.float64)
        prompts = self._prompts(cases)
        for positions in self._batches(prompts, num_beams):
            batch = [prompts[position] for position in positions]
            beams = self._engine.generate(batch, num_beams=num_beams, constrained=False)
            rates[positions] = (beams.rank >= 0).double().mean(1).cpu().numpy()
        return rates

    def _case(self, request: SearchRequest) -> _Case:
        if not isinstance(request, SearchRequest):
            raise _bad("requests", "SearchRequest objects", type(request), TypeError)
        request.check()
        if request.user is None:
            return _Case(None, (), _cut(request.query))
        past = request.user.history
        rows = self.items.rows([event.item_id for event in past]).tolist()
        known = zip(rows, past, strict=True)
        history = tuple(_Event(row, _cut(event.query)) for row, event in known if row >= 0)
        return _Case(_cut(request.user.profile), history, _cut(request.query))

    def _find(
        self,
        cases: Sequence[_Case],
        need: int,
        num_beams: int,
        filter: FilterArgument,
        remove_history: bool,
    ) -> Iterator[_Found]:
        """Searches all cases, those with prompts of like length together."""
        filters = one_per_request("Searcher", filter, len(cases))
        prompts = self._prompts(cases)
        for positions in self._batches(prompts, num_beams):
            beams = self._engine.generate(
                [prompts[position] for position in positions],
                num_beams=num_beams,
                filter=None if filters is None else [filters[position] for position in positions],
            )
            batch = [cases[position] for position in positions]
            rule = ExpansionRule(
                self._items_per_sid,
                last=self._unavailable if self._out_of_stock == "last" else None,
                dropped=self._unavailable if self._out_of_stock == "drop" else None,
                removed=_history_rows(batch) if remove_history else None,
            )
            items = beams.ranked_items(min(need, len(self.items)), rule)
            yield _Found(positions, beams, items)

    def _prompts(self, cases: Sequence[_Case]) -> list[list[int]]:
        codes_of = self._query_codes(cases)
        return [self._prompt(case, codes_of) for case in cases]

    def _query_codes(self, cases: Sequence[_Case]) -> dict[str, Codes]:
        """The SID of every query in sight, each text encoded once."""
        texts: dict[str, None] = {}
        for case in cases:
            asked = (case.query, *(event.query for event in self._shown(case)))
            texts.update((text, None) for text in asked if text is not None)
        if not texts:
            return {}
        vectors = self._served.text_encoder.encode(list(texts))
        return dict(zip(texts, self._served.codebooks.encode(vectors), strict=True))

    def _prompt(self, case: _Case, codes_of: dict[str, Codes]) -> list[int]:
        """The prompt's token ids; the oldest half of a past that does not fit goes, repeatedly."""
        past = self._shown(case)
        item_codes = self.trie.item_codes([event.row for event in past])
        turns = [_turn(*pair, codes_of) for pair in zip(past, item_codes, strict=True)]
        while True:
            ids = self._render(case, turns, codes_of)
            if len(ids) <= self._engine.max_prompt_tokens or not turns:
                return ids
            turns = turns[len(turns) // 2 + 1 :]

    def _shown(self, case: _Case) -> tuple[_Event, ...]:
        """The past that a prompt can show; a long one costs no more than this."""
        most = self._served.prompts.config.max_history_events
        return case.history[max(0, len(case.history) - most) :]

    def _render(self, case: _Case, turns: Sequence[Turn], codes_of: dict[str, Codes]) -> list[int]:
        prompts = self._served.prompts
        if case.query is None:
            return prompts.next_item_prompt(case.profile, turns)
        return prompts.search_prompt(case.profile, turns, case.query, codes_of[case.query])

    def _batches(self, prompts: Sequence[Sequence[int]], num_beams: int) -> Iterator[list[int]]:
        """Positions of prompts of like length, longest first, in batches of bounded memory."""
        order = sorted(range(len(prompts)), key=lambda position: -len(prompts[position]))
        begin = 0
        while begin < len(order):
            size = self._engine.batch_size(len(prompts[order[begin]]), num_beams)
            yield order[begin : begin + size]
            begin += size

    @cached_property
    def _unavailable(self) -> npt.NDArray[np.bool_]:
        """bool by row of the catalogue."""
        return ~self.items.in_stock


def _turn(event: _Event, codes: Codes, codes_of: dict[str, Codes]) -> Turn:
    if event.query is None:
        return Turn(codes)
    return Turn(codes, event.query, codes_of[event.query])


def _hits(found: _Found, line: int, offset: int, item_ids: Sequence[str]) -> list[Hit]:
    """The hits of one line of a batch, the first `offset` passed over."""
    count = int(found.items.count[line])
    rows = found.items.item_ids[line, offset:count].tolist()
    beams = found.items.beam[line, offset:count].tolist()
    codes, scores, ranks = (
        column[line].tolist()
        for column in (found.beams.codes, found.beams.scores, found.beams.rank)
    )
    return [
        Hit(item_ids[row], scores[beam], tuple(codes[beam]), ranks[beam])
        for row, beam in zip(rows, beams, strict=True)
    ]


def _history_rows(cases: Sequence[_Case]) -> npt.NDArray[np.int64]:
    """[case, event] rows of the past, padded with -1."""
    past = [[event.row for event in case.history] for case in cases]
    rows = np.full((len(past), max(map(len, past))), -1, dtype=np.int64)
    for line, one in zip(rows, past, strict=True):
        line[: len(one)] = one
    return rows


def _cut(text: str | None) -> str | None:
    """What is read of a text; None for one that says nothing."""
    return text[:MAX_CHARACTERS] if text and text.strip() else None


def _bad(
    argument: str,
    expected: str,
    got: object,
    kind: type[Exception] = ValueError,
) -> Exception:
    return invalid("Searcher", argument, expected, got, kind=kind)
