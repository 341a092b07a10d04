"""Text in, items out."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import onesearch_fast as osf
from onesearch_fast.cli.answers import answer_text
from onesearch_fast.data.prompts import Turn
from onesearch_fast.data.records import Item
from onesearch_fast.engine.filters import FilterMaker
from onesearch_fast.engine.requests import Hit, PastEvent, SearchRequest, UserContext
from onesearch_fast.engine.search_prompts import MAX_CHARACTERS
from onesearch_fast.engine.searcher import Searcher
from onesearch_fast.engine.served_model import ServedModel

BEAMS = 40
PAST = [PastEvent("item-3", "red lamp"), PastEvent("item-40"), PastEvent("item-9", "white mug")]
USER = UserContext("18 to 23", PAST)
REQUESTS = [
    SearchRequest("red kettle", USER),
    SearchRequest("金色 mug"),
    SearchRequest(None, USER),
    SearchRequest(),
    SearchRequest("plough", UserContext()),
]


@pytest.fixture(scope="module")
def searcher(served_folder: Path) -> Searcher:
    return Searcher.load(served_folder)


def ids(hits: list[Hit]) -> list[str]:
    return [hit.item_id for hit in hits]


def test_hits_are_the_items_of_the_beams(
    searcher: Searcher, served_parts: dict[str, Any], catalogue: tuple[Item, ...]
) -> None:
    """Every step done by hand: codes of the query, prompt, beams, items."""
    parts = served_parts
    codes = dict(
        zip(
            ("red kettle", "red lamp", "white mug"),
            parts["codebooks"].encode(
                parts["text_encoder"].encode(["red kettle", "red lamp", "white mug"])
            ),
            strict=True,
        )
    )
    titles = [item.title for item in catalogue]
    item_codes = parts["codebooks"].encode(parts["text_encoder"].encode(titles))
    turns = [
        Turn(item_codes[3], "red lamp", codes["red lamp"]),
        Turn(item_codes[40]),
        Turn(item_codes[9], "white mug", codes["white mug"]),
    ]
    prompt = parts["prompts"].search_prompt("18 to 23", turns, "red kettle", codes["red kettle"])
    out = searcher.engine.generate([prompt], num_beams=BEAMS)
    expected = []
    for beam, rank in enumerate(out.rank[0].tolist()):
        for row in parts["trie"].items([rank])[0].tolist():
            sid = tuple(out.codes[0, beam].tolist())
            expected.append(Hit(f"item-{row}", float(out.scores[0, beam]), sid, rank))
    past = {event.item_id for event in PAST}
    expected = [hit for hit in expected if hit.item_id not in past]
    hits = searcher.search(REQUESTS[:1], k=90, num_beams=BEAMS)[0]
    assert sorted(hits, key=lambda hit: -hit.score) == hits
    assert {hit.item_id: hit for hit in hits} == {hit.item_id: hit for hit in expected}


def test_an_answer_does_not_depend_on_the_other_requests(searcher: Searcher) -> None:
    together = searcher.search(REQUESTS, k=7, num_beams=BEAMS)
    for request, hits in zip(REQUESTS, together, strict=True):
        alone = searcher.search([request], k=7, num_beams=BEAMS)[0]
        assert ids(alone) == ids(hits)
        assert [hit.score for hit in alone] == pytest.approx([hit.score for hit in hits], abs=1e-4)
    rows = searcher.search_rows(REQUESTS, 7, num_beams=BEAMS)
    assert rows.dtype == np.int32
    assert [[searcher.item_ids[row] for row in line] for line in rows] == list(map(ids, together))


def test_many_threads_may_search_at_once(searcher: Searcher) -> None:
    expected = [ids(searcher.search([request], k=7, num_beams=BEAMS)[0]) for request in REQUESTS]
    with ThreadPoolExecutor(4) as pool:
        jobs = [
            pool.submit(searcher.search, [request], k=7, num_beams=BEAMS)
            for request in REQUESTS * 4
        ]
        assert [ids(job.result()[0]) for job in jobs] == expected * 4


def test_pages_follow_each_other(searcher: Searcher) -> None:
    whole = searcher.search(REQUESTS, k=20, num_beams=BEAMS)
    pages = [searcher.search(REQUESTS, k=5, offset=at, num_beams=BEAMS) for at in range(0, 20, 5)]
    for request, hits in enumerate(whole):
        assert [one for page in pages for one in ids(page[request])] == ids(hits)
    assert searcher.search(REQUESTS[:1], k=5, offset=10_000, num_beams=BEAMS) == [[]]


def test_the_past_is_left_out_unless_asked_for(searcher: Searcher) -> None:
    past = {event.item_id for event in PAST}
    everything = searcher.search(REQUESTS[:1], k=90, num_beams=90, remove_history=False)[0]
    without = searcher.search(REQUESTS[:1], k=90, num_beams=90)[0]
    assert past <= set(ids(everything))
    assert ids(without) == [one for one in ids(everything) if one not in past]
    assert len(everything) == 90


def test_past_items_that_are_gone_are_passed_over(searcher: Searcher) -> None:
    gone = UserContext(USER.profile, [PastEvent("sold-in-1999", "old query"), *PAST])
    got = searcher.search([SearchRequest("red kettle", gone)], k=9, num_beams=BEAMS)
    assert got == searcher.search(REQUESTS[:1], k=9, num_beams=BEAMS)


def test_filters_are_over_rows(searcher: Searcher) -> None:
    cheap = np.array([searcher.items[row].price < 30 for row in range(90)])
    out = searcher.search(REQUESTS, k=50, num_beams=90, filter=searcher.trie.filter(allow=cheap))
    for hits in out:
        assert hits and all(searcher.item(hit.item_id).price < 30 for hit in hits)
    denied = searcher.trie.filter(deny=searcher.items.rows([out[0][0].item_id]))
    filters = [denied, *[None] * (len(REQUESTS) - 1)]
    again = searcher.search(REQUESTS, k=90, num_beams=90, filter=filters)
    assert out[0][0].item_id not in ids(again[0])
    with pytest.raises(ValueError, match="filter"):
        searcher.search(REQUESTS, filter=[None])


def test_filters_are_conditions_on_what_the_catalogue_says(searcher: Searcher) -> None:
    condition = (osf.col("price") < 30) & osf.col("category").contains("mug")
    mask = [
        (item.price or 0) < 30 and "mug" in item.category
        for item in (searcher.items[row] for row in range(90))
    ]
    made = searcher.trie.filter(allow=np.array(mask))
    expected = searcher.search(REQUESTS, k=90, num_beams=90, filter=made)
    assert searcher.search(REQUESTS, k=90, num_beams=90, filter=condition) == expected
    own = [replace(request, filter=str(condition)) for request in REQUESTS]
    assert searcher.search(own, k=90, num_beams=90) == expected
    stock = searcher.search(REQUESTS[:1], k=90, num_beams=90, filter="in_stock")[0]
    assert stock and all(searcher.item(hit.item_id).in_stock for hit in stock)
    why = searcher.why_not(REQUESTS[1], "item-80", filter='price < 30 and brand == "Corvo"')
    assert why.generation is not None and why.generation.refused_by == ("price < 30",)


def test_out_of_stock(served_folder: Path, searcher: Searcher) -> None:
    def sold_out(hits: list[Hit]) -> list[bool]:
        return [not searcher.item(hit.item_id).in_stock for hit in hits]

    keep = Searcher.load(served_folder, out_of_stock="keep")
    drop = Searcher.load(served_folder, out_of_stock="drop")
    kept, dropped, last = (
        one.search(REQUESTS, k=90, num_beams=90) for one in (keep, drop, searcher)
    )
    for request in range(len(REQUESTS)):
        assert any(sold_out(kept[request]))
        assert not any(sold_out(dropped[request]))
        assert sorted(ids(last[request])) == sorted(ids(kept[request]))
        by_sid: dict[int, list[Hit]] = {}
        for hit in last[request]:
            by_sid.setdefault(hit.rank, []).append(hit)
        assert all(sorted(flags) == flags for flags in map(sold_out, by_sid.values()))


def test_items_stand_by_likelihood_where_the_folder_knows_their_counts(
    served_folder: Path, served_parts: dict[str, Any], tmp_path: Path
) -> None:
    trie = served_parts["trie"]
    counts = np.random.default_rng(0).integers(0, 50, trie.num_items).astype(float)
    codes = trie.item_codes(np.arange(trie.num_items))
    known = osf.SidTrie.build(codes, trie.level_sizes, item_scores=counts, keep_scores=True)
    ServedModel.write(tmp_path / "model", **{**served_parts, "trie": known})
    by_likelihood = Searcher.load(tmp_path / "model", out_of_stock="keep")
    by_sid = Searcher.load(tmp_path / "model", out_of_stock="keep", item_order="sid")
    hits, as_before = (one.search(REQUESTS[:1], k=90)[0] for one in (by_likelihood, by_sid))
    of_sid = known.node_statistic(known.num_levels, "sum", counts + 1)

    def likelihood(hit: Hit) -> float:
        row = by_likelihood.items.rows([hit.item_id])[0]
        return hit.score + math.log1p(counts[row]) - math.log(of_sid[hit.rank])

    assert hits == sorted(as_before, key=likelihood, reverse=True) != as_before
    rows = by_likelihood.search_rows(REQUESTS[:1], 90, num_beams=256)[0]
    assert [f"item-{row}" for row in rows if row >= 0] == ids(hits)
    without = Searcher.load(served_folder, out_of_stock="keep")
    ranks = [hit.rank for hit in without.search(REQUESTS[:1], k=90)[0]]
    assert len(set(ranks)) == 1 + sum(map(int.__ne__, ranks, ranks[1:]))


def test_at_most_so_many_items_of_one_sid(served_folder: Path) -> None:
    one = Searcher.load(served_folder, items_per_sid=1)
    hits = one.search(REQUESTS, k=90, num_beams=90, remove_history=False)
    assert all(len({hit.rank for hit in found}) == len(found) for found in hits)


def test_more_than_the_catalogue_gives_the_catalogue(searcher: Searcher) -> None:
    hits = searcher.search([SearchRequest("mug")], k=10**9, num_beams=500)[0]
    assert sorted(ids(hits)) == sorted(searcher.item_ids)
    rows = searcher.search_rows([SearchRequest("mug")], 95, num_beams=500)
    assert (rows[0, :90] >= 0).all() and (rows[0, 90:] == -1).all()


def test_long_texts_and_long_pasts_are_cut(searcher: Searcher) -> None:
    long = "red kettle " * 10_000
    cut = SearchRequest(long[:MAX_CHARACTERS], UserContext(long[:MAX_CHARACTERS]))
    got = searcher.search([SearchRequest(long, UserContext(long))], k=5, num_beams=BEAMS)
    assert got == searcher.search([cut], k=5, num_beams=BEAMS)
    past = [PastEvent(f"item-{row % 90}", "white mug") for row in range(500)]
    hits = searcher.search(
        [SearchRequest("lamp", UserContext(None, past))], k=5, num_beams=90, remove_history=False
    )
    assert len(hits[0]) == 5


def test_valid_sid_rates_are_shares(searcher: Searcher) -> None:
    rates = searcher.valid_sid_rates(REQUESTS, 16)
    assert rates.shape == (len(REQUESTS),) and ((rates >= 0) & (rates <= 1)).all()


def test_nothing_asked_nothing_answered(searcher: Searcher) -> None:
    assert searcher.search([]) == []
    assert searcher.search_rows([], 3).shape == (0, 3)


@pytest.mark.parametrize(
    ("request_", "named"),
    [
        (SearchRequest(""), "query"),
        (SearchRequest("  \n"), "query"),
        (SearchRequest("kettle \ud800"), "lone surrogate at character 7"),
        (SearchRequest("mug", UserContext("a\udfff")), "profile"),
        (SearchRequest("mug", UserContext(None, [PastEvent("item-1", "\ud800")])), "history"),
        (SearchRequest("mug", filter="price <"), "position 7"),
        (SearchRequest("mug", filter="colour < 3"), "colour"),
        (SearchRequest("mug", num_beams=0), "num_beams"),
        (SearchRequest("mug", deadline_ms=-1.0), "deadline_ms"),
    ],
)
def test_bad_texts_are_refused(searcher: Searcher, request_: SearchRequest, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        searcher.search([request_], num_beams=2)


@pytest.mark.parametrize(
    "arguments", [{"k": 0}, {"k": -1}, {"k": 1.5}, {"offset": -1}, {"num_beams": 0}]
)
def test_bad_numbers_are_refused(searcher: Searcher, arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(arguments))):
        searcher.search(REQUESTS[:1], **arguments)


def test_bad_types_are_refused(searcher: Searcher, served_folder: Path) -> None:
    with pytest.raises(TypeError, match="SearchRequest"):
        searcher.search(["red kettle"])  # type: ignore[list-item]
    with pytest.raises(TypeError, match="query"):
        searcher.search([SearchRequest(5)])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="items_per_sid"):
        Searcher.load(served_folder, items_per_sid=0)
    with pytest.raises(ValueError, match="out_of_stock"):
        Searcher.load(served_folder, out_of_stock="hide")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="item_order"):
        Searcher.load(served_folder, item_order="price")  # type: ignore[arg-type]
    with pytest.raises(KeyError):
        searcher.item("nowhere")
    with pytest.raises(TypeError, match="item_id: expected the id of an item, a str"):
        searcher.why_not(REQUESTS[0], 3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("user", "named"),
    [
        ({"history": ["item-1"]}, "UserContext"),
        (UserContext(history=["item-1"]), "PastEvent"),  # type: ignore[list-item]
        (UserContext(history=[PastEvent(1)]), "item_id"),  # type: ignore[arg-type]
        (UserContext(history=None), r"user.history: expected a Sequence"),  # type: ignore[arg-type]
        (UserContext(profile=7), "profile"),  # type: ignore[arg-type]
    ],
)
def test_users_that_are_none_are_refused(searcher: Searcher, user: Any, named: str) -> None:
    with pytest.raises(TypeError, match=named):
        searcher.search([SearchRequest("mug", user)], num_beams=4)


def test_requests_that_are_no_list_are_refused(searcher: Searcher) -> None:
    for one in (SearchRequest("mug"), None, {SearchRequest("mug")}):
        with pytest.raises(TypeError, match="requests: expected a sequence of SearchRequest"):
            searcher.search(one)  # type: ignore[arg-type]


def test_numbers_are_checked_before_anything_runs(searcher: Searcher) -> None:
    request = [SearchRequest("mug")]
    assert len(searcher.search(request, k=np.int64(2), num_beams=np.int32(8))[0]) == 2  # type: ignore[arg-type]
    length = len(searcher._writer.prompts([searcher._writer.case(request[0])])[0])
    for bad in (0, -1, -length, True, "8"):
        with pytest.raises(ValueError, match="num_beams"):
            searcher.search(request, num_beams=bad)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="num_beams"):
            searcher.valid_sid_rates(request, bad)  # type: ignore[arg-type]
    for name in ("k", "offset"):
        with pytest.raises(ValueError, match=name):
            searcher.search(request, **{name: True})


def test_only_the_queries_of_the_past_that_is_shown_are_encoded(
    searcher: Searcher, served_parts: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    most = served_parts["prompts"].config.max_history_events
    past = [PastEvent("item-1", f"query {number}") for number in range(most + 7)]
    seen: list[str] = []
    encoder = searcher._served.text_encoder
    encode = encoder.encode
    monkeypatch.setattr(encoder, "encode", lambda texts: seen.extend(texts) or encode(texts))
    searcher.search([SearchRequest("mug", UserContext(history=past))], num_beams=4)
    assert seen == ["mug", *(event.query for event in past[7:])]


def test_a_request_may_bring_its_own_settings(searcher: Searcher) -> None:
    few = searcher.trie.filter(allow=[3, 40, 71])
    own = SearchRequest("mug", filter=few)
    hurried = SearchRequest("mug", deadline_ms=0)
    answers = searcher.answer([own, hurried, SearchRequest("mug")], k=9, num_beams=BEAMS)
    assert set(ids(list(answers[0].hits))) == {"item-3", "item-40", "item-71"}
    assert [answer.complete for answer in answers] == [True, False, True]
    assert answers[1].levels_scored == 0 and len(answers[1].hits) == 9
    assert answers[2].levels_scored == len(searcher.trie.level_sizes)
    plain = searcher.search([SearchRequest("mug")], k=9, num_beams=BEAMS)[0]
    assert ids(list(answers[2].hits)) == ids(plain)


def test_no_time_gives_a_short_marked_answer(searcher: Searcher) -> None:
    answers = searcher.answer(REQUESTS, k=5, num_beams=BEAMS, deadline_ms=0)
    assert not any(answer.complete for answer in answers)
    assert all(len(answer.hits) == 5 for answer in answers)
    with pytest.raises(ValueError, match="deadline_ms"):
        searcher.search(REQUESTS, deadline_ms=-1)


def test_a_model_whose_weights_are_no_numbers_gives_marked_answers(
    served_parts: dict[str, Any], tmp_path: Path
) -> None:
    broken = copy.deepcopy(served_parts["model"])
    with torch.no_grad():
        broken.model.norm.weight.fill_(math.nan)
    ServedModel.write(tmp_path / "broken", **{**served_parts, "model": broken})
    searcher = Searcher.load(tmp_path / "broken")
    nothing = SearchRequest("mug", filter=searcher.trie.filter(allow=[]))
    answers = searcher.answer([SearchRequest("mug"), nothing], k=5, num_beams=BEAMS)
    assert [answer.hits for answer in answers] == [(), ()]
    assert [answer.dead for answer in answers] == [True, False]
    assert "not numbers" in answer_text(searcher, SearchRequest("mug"), answers[0], stats=False)


def test_an_answer_says_where_its_time_went(searcher: Searcher) -> None:
    stats = searcher.answer(REQUESTS[:1], k=5, num_beams=BEAMS)[0].stats
    assert min(stats.encoding, stats.expansion, stats.generation.prefill) > 0
    assert stats.reranking == 0


class PreferLate:
    """Rewards the hits that came last; notes what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[SearchRequest, int]] = []

    def rerank(self, request: SearchRequest, hits: Sequence[Hit]) -> list[float]:
        self.asked.append((request, len(hits)))
        return [place // 2 for place in range(len(hits))]


def test_a_reranker_orders_the_best(served_folder: Path, searcher: Searcher) -> None:
    reranker = PreferLate()
    chosen = Searcher.load(served_folder, reranker=reranker, rerank_top=6)
    plain = searcher.search(REQUESTS[:1], k=10, num_beams=BEAMS)[0]
    (answer,) = chosen.answer(REQUESTS[:1], k=10, num_beams=BEAMS)
    expected = [plain[place] for place in (4, 5, 2, 3, 0, 1, 6, 7, 8, 9)]
    assert ids(list(answer.hits)) == ids(expected)
    assert [hit.reward for hit in answer.hits] == [2, 2, 1, 1, 0, 0, None, None, None, None]
    assert [hit.score for hit in answer.hits] == [hit.score for hit in expected]
    assert reranker.asked == [(REQUESTS[0], 6)] and answer.stats.reranking > 0
    page = chosen.search(REQUESTS[:1], k=2, offset=1, num_beams=BEAMS)[0]
    assert page == list(answer.hits[1:3])


def test_a_condition_that_requests_share_is_made_once(
    searcher: Searcher, served_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    def make(maker: FilterMaker, given: Any, catalogue: Any) -> Any:
        made.append(given)
        return plain(maker, given, catalogue)

    plain = FilterMaker.make
    monkeypatch.setattr(FilterMaker, "make", make)
    texts = [" ".join(("price", "<", "30")) for _ in REQUESTS]
    own = [replace(one, filter=text) for one, text in zip(REQUESTS, texts, strict=True)]
    searcher.search(own, num_beams=BEAMS)
    assert [one for one in made if isinstance(one, str)] == ["price < 30"]
    made.clear()
    engine = osf.Engine.from_pretrained(served_folder, searcher.trie, columns=searcher.columns)
    condition = osf.col("price") < 30
    engine.generate([[1]] * 7, num_beams=8, filter=[*texts, condition, condition])
    assert made == ["price < 30", condition]


@pytest.mark.parametrize("rewards", [[1.0], [float("nan")] * 6])
def test_rewards_that_are_none_are_refused(served_folder: Path, rewards: list[float]) -> None:
    class Broken:
        def rerank(self, request: SearchRequest, hits: Sequence[Hit]) -> list[float]:
            return rewards

    chosen = Searcher.load(served_folder, reranker=Broken(), rerank_top=6)
    with pytest.raises(ValueError, match="reranker"):
        chosen.search(REQUESTS[:1], num_beams=BEAMS)


def test_every_item_is_accounted_for(served_folder: Path) -> None:
    """Listed, or left out for a reason that holds."""
    chosen = Searcher.load(served_folder, items_per_sid=1, out_of_stock="drop")
    listed = ids(chosen.search(REQUESTS[:1], k=90, num_beams=BEAMS)[0])
    reasons = {}
    for item_id in chosen.item_ids:
        why = chosen.why_not(REQUESTS[0], item_id, num_beams=BEAMS)
        reasons[item_id] = why.reason
        assert str(why).startswith(f"{item_id}: ")
        assert why.place == (listed.index(item_id) if item_id in listed else None)
        assert (why.reason == "found") == (item_id in listed)
    past = {event.item_id for event in PAST}
    assert {item_id for item_id, reason in reasons.items() if reason == "history"} == past
    gone = {item_id for item_id in chosen.item_ids if not chosen.item(item_id).in_stock}
    assert {one for one, reason in reasons.items() if reason == "out_of_stock"} == gone - past
    assert "not_generated" in reasons.values()
    assert chosen.why_not(REQUESTS[0], "item-9999").reason == "unknown"
    kept = chosen.why_not(REQUESTS[0], "item-3", num_beams=90, remove_history=False)
    assert kept.reason in ("found", "crowded_out")
    denied = chosen.trie.filter(deny=chosen.items.rows(["item-20"]))
    filtered = chosen.why_not(REQUESTS[0], "item-20", filter=denied)
    assert filtered.generation is not None and filtered.generation.reason == "filtered"


def test_items_behind_others_of_their_sid_are_crowded_out(served_folder: Path) -> None:
    chosen = Searcher.load(served_folder, items_per_sid=1, out_of_stock="keep")
    rows, begin = chosen.trie.items(np.arange(chosen.trie.num_sids))
    first = set(rows[begin[:-1]].tolist())
    behind = [row for row in rows.tolist() if row not in first]
    assert behind
    for row in behind:
        why = chosen.why_not(REQUESTS[1], f"item-{row}", num_beams=90)
        assert why.reason == "crowded_out" and "lists others" in str(why)


def test_requests_are_read_from_json() -> None:
    value = {
        "query": "mug",
        "user": {"profile": "p", "history": [{"item_id": 7, "query": "q"}, "item-2"]},
    }
    expected = SearchRequest("mug", UserContext("p", (PastEvent("7", "q"), PastEvent("item-2"))))
    assert SearchRequest.from_json(value) == expected
    assert SearchRequest.from_json("mug") == SearchRequest("mug")
    assert SearchRequest.from_json({}) == SearchRequest()
    settings = SearchRequest.from_json({"query": "mug", "filter": "price < 3", "num_beams": 8})
    assert settings == SearchRequest("mug", filter="price < 3", num_beams=8)


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (7, "request"),
        ({"q": "mug"}, "'q'"),
        ({"query": 7}, "query"),
        ({"user": "me"}, "user"),
        ({"user": {"history": None}}, None),
        ({"user": {"history": {}}}, "history"),
        ({"user": {"history": ""}}, "history"),
        ({"user": {"history": "item-1"}}, "history"),
        ({"user": {"history": [{"query": "x"}]}}, "item_id"),
        ({"user": {"history": [{"item_id": True}]}}, "item_id"),
        ({"user": {"profile": 3}}, "profile"),
    ],
)
def test_json_that_is_no_request_is_refused(value: Any, named: str | None) -> None:
    if named is None:
        assert SearchRequest.from_json(value) == SearchRequest(None, UserContext())
    else:
        with pytest.raises(ValueError, match=named):
            SearchRequest.from_json(value)


@pytest.fixture
def store(served_parts: dict[str, Any], tmp_path: Path) -> Iterator[osf.LiveStore]:
    """The served catalogue, its rows as item ids, with prices that are the rows."""
    trie = served_parts["trie"]
    item_ids, begin = trie.items(np.arange(trie.num_sids))
    codes = np.repeat(trie.codes(np.arange(trie.num_sids)), np.diff(begin), axis=0)
    columns = {"price": item_ids.astype(np.float64), "in_stock": item_ids % 7 != 0}
    with osf.LiveStore.create(
        tmp_path / "store", codes, trie.level_sizes, item_ids=item_ids, columns=columns
    ) as made:
        yield made


@pytest.fixture
def live(served_folder: Path, store: osf.LiveStore) -> Searcher:
    engine = osf.Engine.from_pretrained(served_folder, store, dtype="float32")
    return Searcher(ServedModel.load(served_folder), engine)


def test_a_live_store_shows_what_the_table_does_not_hold(
    live: Searcher, store: osf.LiveStore, searcher: Searcher
) -> None:
    before = live.search(REQUESTS, k=9, num_beams=BEAMS)
    assert list(map(ids, before)) == list(map(ids, searcher.search(REQUESTS, k=9, num_beams=BEAMS)))
    best, number = before[1][0], 10**12
    store.insert([number], [best.sid], [1e6], columns={"price": [1e6]})
    after = live.search(REQUESTS, k=9, num_beams=BEAMS)
    assert {str(number), best.item_id} <= set(ids(after[1]))
    kept = live.search(REQUESTS, k=9, num_beams=BEAMS, filter="price < 1e5")
    assert str(number) not in {one for hits in kept for one in ids(hits)}
    rows = live.search_rows(REQUESTS[1:2], 9, num_beams=BEAMS)
    assert rows.dtype == np.int32 and -1 in rows[0, : ids(after[1]).index(str(number)) + 1]
    row = int(searcher.items.rows([best.item_id])[0])
    store.update_attributes([row], {"price": [1e6]})
    why = live.why_not(REQUESTS[1], best.item_id, filter="price < 1e5 and price > 0").generation
    assert why is not None and why.refused_by == ("price < 100000.0",)
    store.delete([number])
    assert list(map(ids, live.search(REQUESTS, k=9, num_beams=BEAMS))) == list(map(ids, before))


def test_what_a_live_store_took_in_is_explained_as_other_items_are(
    live: Searcher, store: osf.LiveStore
) -> None:
    request, name = REQUESTS[1], "90"
    best = live.search([request], k=1, num_beams=BEAMS)[0][0]
    assert live.why_not(request, name).reason == "unknown"
    store.insert([90, 91], [best.sid, best.sid], [1e6, -1e6], columns={"price": [5.0, 5.0]})
    listed = ids(live.search([request], k=200, num_beams=BEAMS)[0])
    why = live.why_not(request, name, num_beams=BEAMS)
    assert why.reason == "found" and why.place == listed.index(name)
    taken = SearchRequest("kettle", UserContext(history=[PastEvent(name)]))
    assert live.why_not(taken, name).reason == "history"
    assert name not in ids(live.search([taken], k=200, num_beams=90)[0])
    refused = live.why_not(request, name, filter="price > 5").generation
    assert refused is not None and refused.refused_by == ("price > 5",)
    store.delete([90])
    assert str(live.why_not(request, name)) == "90: not in the catalogue\nitem 90: not in version 2"


def test_what_a_live_store_has_sold_out_comes_last_or_not_at_all(
    live: Searcher, store: osf.LiveStore, served_folder: Path
) -> None:
    request = REQUESTS[1]
    drop = Searcher(ServedModel.load(served_folder), live.engine, out_of_stock="drop")
    listed = ids(drop.search([request], k=200, num_beams=90)[0])
    gone = listed[0]
    store.update_attributes(live.items.rows([gone]), {"in_stock": [False]})
    store.update_attributes(live.items.rows(["item-7"]), {"in_stock": [True]})
    assert set(ids(drop.search([request], k=200, num_beams=90)[0])) == {*listed, "item-7"} - {gone}
    assert drop.why_not(request, gone).reason == "out_of_stock"
    assert drop.why_not(request, "item-7", num_beams=90).reason in ("found", "crowded_out")
    beside = [hit for hit in live.search([request], k=200, num_beams=90)[0] if hit.item_id == gone]
    same = [
        one for one in live.search([request], k=200, num_beams=90)[0] if one.rank == beside[0].rank
    ]
    assert same[-1].item_id == gone


def test_the_last_of_an_answer_is_explained_though_a_store_has_grown(
    live: Searcher, store: osf.LiveStore
) -> None:
    """An answer over more items than the table has is looked through to its end."""
    best = live.search([REQUESTS[1]], k=1, num_beams=90)[0][0]
    new = 90 + np.arange(4)
    store.insert(new, [best.sid] * 4, np.full(4, 1e6), columns={"price": np.zeros(4)})
    listed = ids(live.search([REQUESTS[1]], k=200, num_beams=90)[0])
    assert len(listed) > 90
    why = live.why_not(REQUESTS[1], listed[-1], num_beams=90)
    assert why.reason == "found" and why.place == len(listed) - 1
