"""`Searcher`: text in, items out."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import repeat
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from onesearch_fast.data.long_history import LongHistories
from onesearch_fast.engine.catalogues import Catalogue, latest
from onesearch_fast.engine.deadline import Deadline, one_deadline_per_request
from onesearch_fast.engine.engine import Engine
from onesearch_fast.engine.engine_prompts import EnginePrompts, engine_prompts
from onesearch_fast.engine.expansion import (
    MAX_ITEMS,
    ExpansionRule,
    ItemTest,
    RankedItems,
    items_of,
)
from onesearch_fast.engine.filters import (
    CACHE_BYTES,
    FilterArgument,
    FilterLike,
    FilterMaker,
    one_per_request,
)
from onesearch_fast.engine.numbers import whole_number
from onesearch_fast.engine.requests import Hit, SearchAnswer, SearchRequest, SearchStats
from onesearch_fast.engine.reranker import Reranker, reranked
from onesearch_fast.engine.result import GenerateResult
from onesearch_fast.engine.search_batch import MAX_BEAMS
from onesearch_fast.engine.search_diagnostics import HitReason, WhyNotHit
from onesearch_fast.engine.search_prompts import PromptWriter, SearchCase, past_items
from onesearch_fast.engine.served_model import ServedModel
from onesearch_fast.errors import invalid
from onesearch_fast.index.filter_cache import FilterCache
from onesearch_fast.index.item_columns import ItemColumns
from onesearch_fast.index.item_filter import ItemFilter
from onesearch_fast.index.item_table import ItemRow, ItemTable
from onesearch_fast.index.live_store import Snapshot
from onesearch_fast.index.sid_trie import SidTrie

T = TypeVar("T")
OutOfStock = Literal["last", "drop", "keep"]
ItemOrder = Literal["likelihood", "sid"]


@dataclass(frozen=True)
class _Question:
    """A request, ready to be searched."""

    case: SearchCase
    prompt: list[int]
    histories: LongHistories | None
    num_beams: int
    filter: FilterLike | None
    deadline: Deadline


@dataclass(frozen=True)
class _Found:
    """One batch, searched: where its requests stand in the call, its beams, and their items."""

    positions: list[int]
    beams: GenerateResult
    items: RankedItems
    expansion_seconds: float


class Searcher:
    """Answers queries from a served model folder. Safe to use from many threads.

    A query is encoded to its own SID, written into a prompt with the user's past, and the model's
    SIDs are expanded to items, in stock first and at most `items_per_sid` of each, which stand by
    their likelihood, see `ExpansionRule`. An item has one SID, so none comes twice. A `Reranker`
    may then re-order the best of them.

    Its engine may search a `LiveStore` that was made of the folder's catalogue: conditions then
    hold for the latest snapshot, and an item inserted since, of which `items` says nothing, is
    named by its number in the store.
    """

    def __init__(
        self,
        served: ServedModel,
        engine: Engine,
        items_per_sid: int = 5,
        out_of_stock: OutOfStock = "last",
        reranker: Reranker | None = None,
        rerank_top: int = 200,
        item_order: ItemOrder = "likelihood",
    ) -> None:
        if out_of_stock not in ("last", "drop", "keep"):
            raise _bad("out_of_stock", "'last', 'drop' or 'keep'", out_of_stock)
        if item_order not in ("likelihood", "sid"):
            raise _bad("item_order", "'likelihood' or 'sid'", item_order)
        self._served = served
        self._engine = engine
        self._items_per_sid = whole_number("Searcher", "items_per_sid", items_per_sid, 1)
        self._out_of_stock = out_of_stock
        self._stock = FilterCache(CACHE_BYTES)
        self._reranker = reranker
        self._rerank_top = whole_number("Searcher", "rerank_top", rerank_top, 1)
        scores = served.trie.item_scores() if item_order == "likelihood" else None
        self._counts = None if scores is None else np.maximum(scores, 0.0)
        self._writer = PromptWriter(served, engine.max_prompt_tokens)

    @classmethod
    def load(
        cls,
        folder: str | os.PathLike[str],
        device: str | torch.device = "cpu",
        dtype: str | torch.dtype = "float32",
        items_per_sid: int = 5,
        out_of_stock: OutOfStock = "last",
        verify: bool = True,
        *,
        reranker: Reranker | None = None,
        rerank_top: int = 200,
        item_order: ItemOrder = "likelihood",
        prefix_cache_bytes: int = 0,
        max_memory_bytes: int | None = None,
        quantization: str | None = None,
    ) -> Searcher:
        """Opens a served model folder.

        Args:
            folder: written by `ServedModel.write`.
            device, dtype: where and in what the model runs.
            items_per_sid: most items of one SID in an answer.
            out_of_stock: items that cannot be bought come "last" within their SID, are left out
                ("drop"), or stand where their prior puts them ("keep"). A live store with a column
                in_stock knows better than the folder which these are.
            verify: read every file and compare it with the manifest; else names and sizes only.
            reranker: re-orders the `rerank_top` best hits of each answer; the others follow as they
                were.
            item_order: "likelihood" orders items by their own, where the folder's trie keeps what
                was taken of each, as those of `run_pipeline` do; "sid" lists SID after SID, items
                of higher prior first in each.
            prefix_cache_bytes, max_memory_bytes, quantization: as of `Engine.from_pretrained`. A
                user's prompts begin alike, and so do the pages of one answer: where they come again
                soon, a cache of some 64 MB saves most of their reading.

        Raises:
            ServedModelError: naming a file that is missing, altered or unexpected.
        """
        served = ServedModel.load(folder, verify)
        engine = Engine.from_pretrained(
            served.folder,
            served.trie,
            device,
            dtype,
            prefix_cache_bytes=prefix_cache_bytes,
            max_memory_bytes=max_memory_bytes,
            quantization=quantization,
        )
        return cls(served, engine, items_per_sid, out_of_stock, reranker, rerank_top, item_order)

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
        deadline_ms: float | None = None,
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
            filter: a condition on `searcher.columns` such as osf.col("price") < 5, its text, or
                `searcher.trie.filter(...)` over rows of `searcher.items`; one, or one a request.
            remove_history: leave out what is in the user's past.
            deadline_ms: milliseconds from now in which to search; `answer` says where they were
                too few, and hits are then a guess from the levels that were scored.

        Raises:
            ValueError: a blank query, text that is not valid Unicode, a number out of range.
        """
        answers = self.answer(requests, k, offset, num_beams, filter, remove_history, deadline_ms)
        return [list(answer.hits) for answer in answers]

    def answer(
        self,
        requests: Sequence[SearchRequest],
        k: int = 50,
        offset: int = 0,
        num_beams: int = 256,
        filter: FilterArgument = None,
        remove_history: bool = True,
        deadline_ms: float | None = None,
    ) -> list[SearchAnswer]:
        """`search`, with what there is to say about each answer beside its hits."""
        k = whole_number("Searcher", "k", k, 1)
        offset = whole_number("Searcher", "offset", offset, 0)
        begin = time.perf_counter()
        questions = self._questions(requests, num_beams, filter, deadline_ms)
        encoding = time.perf_counter() - begin
        need = offset + k if self._reranker is None else max(offset + k, self._rerank_top)
        answers: dict[int, SearchAnswer] = {}
        for found in self._find(questions, need, remove_history):
            for line, position in enumerate(found.positions):
                hits, reranking = self._ranked(requests[position], found, line)
                page = tuple(hits[offset : offset + k])
                beams = found.beams
                stats = SearchStats(encoding, beams.stats, found.expansion_seconds, reranking)
                scored = int(beams.levels_scored[line])
                complete, dead = bool(beams.complete[line]), bool(beams.dead[line])
                answers[position] = SearchAnswer(page, complete, dead, scored, stats)
        return [answers[position] for position in range(len(questions))]

    def search_rows(
        self,
        requests: Sequence[SearchRequest],
        k: int,
        num_beams: int = 64,
        filter: FilterArgument = None,
        remove_history: bool = True,
    ) -> npt.NDArray[np.int32]:
        """Rows of `items`, as the search has ranked them: int32 [request, k], padded with -1.

        `k` is at most 1,000,000, for the table is made as wide as `k` says.
        An item that a live store has taken in since, being in no row, is -1 as well.
        The way to put tens of thousands of requests: it makes no object per hit, and asks no
        `Reranker`.
        """
        k = whole_number("Searcher", "k", k, 1, MAX_ITEMS)
        questions = self._questions(requests, num_beams, filter, None)
        rows = np.full((len(questions), k), -1, dtype=np.int32)
        for found in self._find(questions, k, remove_history):
            width = found.items.item_ids.shape[1]
            known = found.items.item_ids < len(self.items)
            rows[found.positions, :width] = np.where(known, found.items.item_ids, -1)
        return rows

    def why_not(
        self,
        request: SearchRequest,
        item_id: str,
        num_beams: int = 256,
        filter: FilterLike | None = None,
        remove_history: bool = True,
        max_beams: int = 4096,
    ) -> WhyNotHit:
        """Why a search does or does not list an item.

        Args:
            request, num_beams, filter, remove_history: of the search.
            item_id: of the item that is missed.
            max_beams: the widest search that is tried to tell its place.
        """
        if not isinstance(item_id, str):
            raise _bad("item_id", "the id of an item, a str", type(item_id), TypeError)
        (question,) = self._questions([request], num_beams, filter, None)
        number = int(self.items.numbers([item_id])[0])
        if number < 0:
            return WhyNotHit(item_id, "unknown")
        if remove_history and number in past_items([question.case]):
            return WhyNotHit(item_id, "history")
        catalogue = latest("Searcher", self._engine.trie)
        if self._out_of_stock == "drop" and self._sold_out(catalogue)(np.array([number]))[0]:
            return WhyNotHit(item_id, "out_of_stock")
        prompt = self._prompts([question])
        why = self._engine.why_not(
            prompt.input_ids,
            number,
            prompt_embeds=prompt.prompt_embeds,
            num_beams=question.num_beams,
            filter=question.filter,
            max_beams=max_beams,
        )
        if why.reason == "filtered" and self._searches_its_trie:
            parts = self._filters.parts(_own(request.filter, filter), self.trie)
            refused = tuple(text for text, one in parts if not one.contains([number])[0])
            why = replace(why, refused_by=refused)
        if why.reason != "found":
            reason: HitReason = "unknown" if why.reason == "absent" else "not_generated"
            return WhyNotHit(item_id, reason, generation=why)
        (found,) = self._find([question], sys.maxsize, remove_history)
        places = np.flatnonzero(found.items.item_ids[0] == number)
        if len(places):
            return WhyNotHit(item_id, "found", int(places[0]), why)
        return WhyNotHit(item_id, "crowded_out", generation=why)

    def valid_sid_rates(
        self, requests: Sequence[SearchRequest], num_beams: int
    ) -> npt.NDArray[np.float64]:
        """Share of each request's unconstrained beams that are SIDs of the catalogue: [request]."""
        questions = self._questions(requests, num_beams, None, None)
        rates = np.empty(len(questions), dtype=np.float64)
        for positions in self._batches(questions):
            prompts = self._prompts([questions[position] for position in positions])
            beams = self._engine.generate(
                prompts.input_ids,
                prompts.attention_mask,
                num_beams=num_beams,
                prompt_embeds=prompts.prompt_embeds,
                constrained=False,
            )
            rates[positions] = (beams.rank >= 0).double().mean(1).cpu().numpy()
        return rates

    def _questions(
        self,
        requests: Sequence[SearchRequest],
        num_beams: int,
        filter: FilterArgument,
        deadline_ms: float | None,
    ) -> list[_Question]:
        if not isinstance(requests, Sequence):
            expected, remedy = "a sequence of SearchRequest", "one request is a list of one"
            raise invalid("Searcher", "requests", expected, type(requests), remedy, TypeError)
        filters = one_per_request("Searcher", filter, len(requests))
        cases = [self._writer.case(request) for request in requests]
        most = whole_number("Searcher", "num_beams", num_beams, 1, MAX_BEAMS)
        beams = [_own(request.num_beams, most) for request in requests]
        times = [_own(request.deadline_ms, deadline_ms) for request in requests]
        deadlines = one_deadline_per_request("Searcher", times, len(requests))
        pairs = zip(requests, filters, strict=True)
        chosen = self._made([_own(request.filter, one) for request, one in pairs])
        histories = self._writer.histories(cases)
        prompts = self._writer.prompts(cases, histories)
        return list(map(_Question, cases, prompts, repeat(histories), beams, chosen, deadlines))

    def _prompts(self, questions: Sequence[_Question]) -> EnginePrompts:
        """Of one call's questions, which share their histories."""
        prompts = [one.prompt for one in questions]
        former, histories = self._served.long_history, questions[0].histories
        return engine_prompts(self._engine, prompts, former, histories)

    def _find(
        self, questions: Sequence[_Question], need: int, remove_history: bool
    ) -> Iterator[_Found]:
        """Searches one version for all questions, those with prompts of like length together."""
        catalogue = latest("Searcher", self._engine.trie)
        for positions in self._batches(questions):
            batch = [questions[position] for position in positions]
            prompts = self._prompts(batch)
            beams = self._engine.generate(
                prompts.input_ids,
                prompts.attention_mask,
                num_beams=[one.num_beams for one in batch],
                filter=[one.filter for one in batch],
                prompt_embeds=prompts.prompt_embeds,
                trie=catalogue,
                deadline_ms=[one.deadline for one in batch],
            )
            begin = time.perf_counter()
            rule = ExpansionRule(
                self._items_per_sid,
                last=self._sold_out(catalogue) if self._out_of_stock == "last" else None,
                dropped=self._sold_out(catalogue) if self._out_of_stock == "drop" else None,
                removed=past_items([one.case for one in batch]) if remove_history else None,
                counts=self._counts,
            )
            items = beams.ranked_items(min(need, catalogue.num_items), rule)
            yield _Found(positions, beams, items, time.perf_counter() - begin)

    def _ranked(self, request: SearchRequest, found: _Found, line: int) -> tuple[list[Hit], float]:
        """One request's hits as they are answered, and the seconds that re-ranking took."""
        hits = _hits(found, line, self.item_ids)
        if self._reranker is None:
            return hits, 0.0
        begin = time.perf_counter()
        best = reranked(self._reranker, request, hits[: self._rerank_top])
        return best + hits[self._rerank_top :], time.perf_counter() - begin

    def _batches(self, questions: Sequence[_Question]) -> Iterator[list[int]]:
        """Positions of those in a hurry first, of prompts of like length together, longest first.

        Batches have bounded memory.
        """

        def urgency(position: int) -> tuple[Deadline, int]:
            return questions[position].deadline, -len(questions[position].prompt)

        order, begin = sorted(range(len(questions)), key=urgency), 0
        while begin < len(order):
            first = questions[order[begin]]
            size = self._engine.batch_size(len(first.prompt), first.num_beams)
            yield order[begin : begin + size]
            begin += size

    def _made(self, filters: Sequence[FilterLike | None]) -> Sequence[FilterLike | None]:
        """Conditions as filters; columns are made when the first condition comes."""
        ready = all(one is None or isinstance(one, ItemFilter) for one in filters)
        if ready or not self._searches_its_trie:
            return filters
        return self._filters.make_each(filters, [self.trie] * len(filters))

    @property
    def _searches_its_trie(self) -> bool:
        """Else a live store is searched, and the engine makes filters of the store's columns."""
        return self._engine.trie is self.trie

    @cached_property
    def _filters(self) -> FilterMaker:
        return FilterMaker(self.columns)

    @cached_property
    def columns(self) -> ItemColumns:
        """What conditions may ask about: brand, category, price and in_stock."""
        return ItemColumns.build(self.trie, self.items.attributes)

    def _sold_out(self, catalogue: Catalogue) -> ItemTest:
        """Tells what cannot be bought: by a live store's own in_stock, else as the folder says."""
        if isinstance(catalogue, Snapshot) and catalogue.column_kinds.get("in_stock") == "bool":
            return self._stock.filter(catalogue, where="in_stock == false").contains
        return self._sold_out_rows

    @cached_property
    def _sold_out_rows(self) -> ItemTest:
        return items_of(~self.items.in_stock)


def _own(of_request: T | None, of_call: T) -> T:
    return of_call if of_request is None else of_request


def _hits(found: _Found, line: int, item_ids: Sequence[str]) -> list[Hit]:
    """The hits of one line of a batch."""
    count = int(found.items.count[line])
    rows = found.items.item_ids[line, :count].tolist()
    beams = found.items.beam[line, :count].tolist()
    codes, scores, ranks = (
        column[line].tolist()
        for column in (found.beams.codes, found.beams.scores, found.beams.rank)
    )
    return [
        Hit(
            item_ids[row] if row < len(item_ids) else str(row),
            scores[beam],
            tuple(codes[beam]),
            ranks[beam],
        )
        for row, beam in zip(rows, beams, strict=True)
    ]


def _bad(
    argument: str,
    expected: str,
    got: object,
    kind: type[Exception] = ValueError,
) -> Exception:
    return invalid("Searcher", argument, expected, got, kind=kind)
