from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from onesearch_fast.data.records import Item
from onesearch_fast.data.split import EvalCase, Event, TrainLog, UserHistory
from onesearch_fast.evaluate.baselines import (
    BaselineContext,
    discover_baselines,
    fit_baselines,
)
from onesearch_fast.evaluate.categories import CategoryTable
from onesearch_fast.evaluate.ranking import (
    DenseRanker,
    Scores,
    TieOrder,
    check_ranking,
    ranking_keys,
    target_ndcgs,
    top_k,
)
from onesearch_fast.evaluate.tokens import tokenise

SHOES, BOOTS, TEA = ("Wear", "Shoes"), ("Wear", "Shoes", "Boots"), ("Food", "Tea")
ITEMS = (
    Item("i0", "red running shoe", "Abe", SHOES),
    Item("i1", "blue running shoes", "Bo", SHOES),
    Item("i2", "leather boot", "Abe", BOOTS),
    Item("i3", "green tea", "Cha", TEA),
    Item("i4", "绿茶 礼盒", "Cha", TEA),
    Item("i5", "black tea", None, TEA),
    Item("i6", "mystery box"),
)


def history(user, *rows, queries=None, events=None):
    queries = queries or [None] * len(rows)
    events = events or ["click"] * len(rows)
    return UserHistory(
        user,
        None,
        tuple(
            Event(place, row, event, query)
            for place, (row, query, event) in enumerate(zip(rows, queries, events, strict=True))
        ),
    )


LOG = TrainLog(
    ITEMS,
    (
        history("a", 0, 1, queries=["running shoe", "running shoe"]),
        history("b", 0, 2, events=["click", "order"]),
        history("c", 3, 5, queries=["hot drink", "hot drink"]),
        history("d", 1, 5, 3),
    ),
)


def case(target, *seen, query=None, group="report", user="z"):
    return EvalCase(user, None, history(user, *seen).events, query, None, target, group, 0, 0)


class BagEncoder:
    """A stand-in encoder: one axis per token."""

    def __init__(self, texts):
        tokens = sorted({token for text in texts for token in tokenise(text)})
        self.axes = {token: axis for axis, token in enumerate(tokens)}
        self.dim = len(self.axes)

    def encode(self, texts):
        vectors = np.zeros((len(texts), self.dim), dtype=np.float32)
        for row, text in enumerate(texts):
            for token in tokenise(text):
                if token in self.axes:
                    vectors[row, self.axes[token]] = 1.0
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)


ENCODER = BagEncoder([item.title for item in ITEMS])


def context(task="search", stop=(), encoder=ENCODER):
    return BaselineContext(LOG, task, stop, encoder)


# ---- ranking


@given(
    scores=hnp.arrays(
        np.float32,
        (3, 7),
        elements=st.sampled_from([-np.inf, -2.5, -0.0, 0.0, 1e-30, 3.0]),
    ),
    tiers=hnp.arrays(np.uint8, (3, 7), elements=st.integers(0, 3)),
    k=st.integers(1, 9),
)
def test_top_k_equals_sorting(scores, tiers, k):
    cases = [case(0), case(1, 2, 2), case(2, 0, 6)]
    ties = TieOrder([item.item_id for item in ITEMS])
    keys = ranking_keys(Scores(scores, tiers), ties, cases)
    ranked = top_k(keys, k, ties)
    for row, one in enumerate(cases):
        seen = {event.row for event in one.history}
        allowed = [i for i in range(7) if scores[row, i] > -np.inf and i not in seen]
        allowed.sort(key=lambda i: (-int(tiers[row, i]), -scores[row, i], ties.place[i]))
        expected = (allowed + [-1] * k)[:k]
        assert ranked[row].tolist() == expected
    check_ranking("x", ranked, cases, k, 7)
    ndcgs = target_ndcgs(Scores(scores, tiers), ties, cases, k)
    for row, one in enumerate(cases):
        place = ranked[row].tolist()
        hit = place.index(one.target_row) + 1 if one.target_row in place else None
        assert ndcgs[row] == pytest.approx(0 if hit is None else 1 / math.log2(1 + hit))


def test_ties_do_not_follow_the_catalogue_and_survive_its_shuffling():
    ids = [f"item-{number}" for number in range(200)]
    order = TieOrder(ids)
    assert sorted(order.row.tolist()) == list(range(200))
    assert sum(a < b for a, b in pairwise(order.row.tolist())) < 140
    reversed_order = TieOrder(ids[::-1])
    assert [ids[row] for row in order.row] == [ids[::-1][row] for row in reversed_order.row]


def test_chunking_does_not_change_rankings(monkeypatch):
    cases = [case(0, query=query) for query in ("tea", "shoe", "boot", "box", "")]
    whole = context().ranker("bm25").rank(cases, 5)
    monkeypatch.setattr("onesearch_fast.evaluate.ranking._CHUNK_BYTES", 1)
    assert context().ranker("bm25").rank(cases, 5).tolist() == whole.tolist()


def test_scores_must_be_numbers():
    ties = TieOrder(["a", "b"])
    for bad in (np.nan, np.inf):
        ranker = DenseRanker("bad", ties, lambda _, bad=bad: Scores(np.full((1, 2), bad, "f4")))
        with pytest.raises(ValueError, match="finite numbers or -inf"):
            ranker.rank([case(0)], 1)


# ---- the registry


def test_every_baseline_ranks_for_its_tasks():
    for task in ("search", "next_item"):
        stop = [case(1, 0, query="shoe", group="stop"), case(3, 5, query="tea", group="stop")]
        cases = [case(1, 0, query="running shoe"), case(4, 3, 5, query="茶"), case(6, query="")]
        rankers = fit_baselines(context(task, stop))
        assert [r.name for r in rankers] == [
            name
            for name, one in discover_baselines().items()
            if task in one.tasks and one.needs != "sasrec"
        ]
        for ranker in rankers:
            for k in (3, 10):
                check_ranking(ranker.name, ranker.rank(cases, k), cases, k, len(ITEMS))


def test_baselines_that_embed_are_left_out_without_an_encoder():
    names = [ranker.name for ranker in fit_baselines(context(encoder=None))]
    assert "dense" not in names and "bm25" in names
    with pytest.raises(ValueError, match="a context with text_encoder"):
        fit_baselines(context(encoder=None), ["dense"])


def test_unknown_names_tasks_and_reported_cases_are_refused():
    with pytest.raises(ValueError, match="one of"):
        fit_baselines(context(), ["gru4rec"])
    with pytest.raises(ValueError, match="baselines for next_item"):
        fit_baselines(context("next_item"), ["bm25"])
    with pytest.raises(ValueError, match="reported cases"):
        context(stop=[case(0, group="report")])


# ---- popularity and categories


def test_popularity_counts_orders_twice():
    ranked = context().ranker("popularity").rank([case(0)], 5)[0].tolist()
    assert LOG.item_popularity().tolist() == [2, 2, 2, 2, 0, 2, 0]
    assert set(ranked) == {0, 1, 2, 3, 5}
    assert ranked == context().ties.row[np.isin(context().ties.row, ranked)].tolist()


def test_category_tiers_put_the_path_before_what_lies_below():
    table = CategoryTable(ITEMS)
    assert table.tiers(SHOES).tolist() == [2, 2, 1, 0, 0, 0, 0]
    assert table.tiers(("Wear",)).tolist() == [1, 1, 1, 0, 0, 0, 0]
    assert table.tiers(None).tolist() == [0] * 7
    assert table.named_by("wear >  SHOES") == SHOES
    assert table.named_by("shoes") is None


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ("Food > Tea", TEA),  # spelled out
        ("Hot  drink", TEA),  # clicked after this text
        ("leather", BOOTS),  # what BM25 finds
        ("zebra", None),
    ],
)
def test_three_rules_for_the_category_of_a_query(query, path):
    assert context().query_categories.resolve([query]) == {query: path}


def test_next_item_takes_the_category_of_the_last_event():
    ranked = context("next_item").ranker("popularity_in_category")
    assert ranked.rank([case(4, 0, 3)], 2)[0].tolist() == [5, 4]
    without_history = ranked.rank([case(4)], 7)
    everyone = context("next_item").ranker("popularity").rank([case(4)], 7)
    assert without_history.tolist() == everyone.tolist()


# ---- item-kNN


def test_item_knn_by_hand():
    similarity = context().similarity
    # Users: 0 of {a, b}, 1 of {a, d}, 2 of {b}, 3 of {c, d}, 5 of {c, d}.
    matrix = similarity.matrix.toarray()
    assert matrix[0, 1] == pytest.approx(1 / 2)
    assert matrix[0, 2] == pytest.approx(1 / math.sqrt(2))
    assert matrix[3, 5] == pytest.approx(1.0)
    assert matrix.diagonal().tolist() == [0] * 7
    scores = similarity.history_scores([case(5, 0, 1)])
    expected = 0.7 * matrix[0] + matrix[1]
    np.testing.assert_allclose(scores[0], expected, rtol=1e-6)


def test_item_knn_equals_brute_force_on_random_logs():
    generator = np.random.default_rng(0)
    items = tuple(Item(f"x{i}", "t") for i in range(12))
    histories = tuple(
        history(f"u{u}", *generator.choice(12, size=generator.integers(1, 7), replace=False))
        for u in range(30)
    )
    log = TrainLog(items, histories)
    sets = [{h.user_id for h in histories for e in h.events if e.row == i} for i in range(12)]
    seen = [4, 9, 4, 1]
    scores = BaselineContext(log, "next_item", ()).similarity.history_scores([case(0, *seen)])[0]
    for j in range(12):
        expected = 0.0
        for age, i in enumerate(reversed(seen)):
            if i != j and sets[i] and sets[j]:
                size = math.sqrt(len(sets[i]) * len(sets[j]))
                expected += 0.7**age * len(sets[i] & sets[j]) / size
        assert scores[j] == pytest.approx(expected, rel=1e-5, abs=1e-7)


def test_item_knn_in_search_stays_in_the_category():
    ranked = context().ranker("item_knn").rank([case(1, 0, query="Wear > Shoes")], 3)
    assert ranked[0].tolist()[:2] == [1, 2]
    free = context("next_item").ranker("item_knn").rank([case(1, 0)], 2)
    assert free[0].tolist() == [2, 1]


def test_brand_match_ignores_items_without_a_brand():
    scores = context().brand_match.history_scores([case(0, 2, 5), case(0, 6)])
    np.testing.assert_allclose(scores[0], [0.7, 0, 0.7, 0, 0, 0, 0], rtol=1e-6)
    assert scores[1].tolist() == [0] * 7


def test_weights_are_chosen_on_the_stop_group():
    # The history's brand leads to the target, which nobody clicked.
    stop = [case(4, 3, query="Food > Tea", group="stop") for _ in range(3)]
    ranker = context(stop=stop).ranker("item_knn_brand")
    assert ranker.weights[2] > 0
    assert ranker.rank([case(4, 3, query="Food > Tea")], 1)[0].tolist() == [4]
    assert context().ranker("item_knn_brand").weights == (1.0, 0.3, 0.3)


# ---- text


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("Nail Polishes", ["nail", "polish"]),
        ("0.5-Fluid dresses, glass", ["0.5", "fluid", "dress", "glass"]),
        ("Men's batteries", ["men", "battery"]),
        ("口红", ["口", "红", "口红"]),
        ("iPhone15手机壳", ["iphone15", "手", "机", "壳", "手机", "机壳"]),
        ("ＡＢＣ_x", ["abc", "x"]),
        ("-- !", []),
    ],
)
def test_tokenise(text, tokens):
    assert tokenise(text) == tokens


def test_bm25_by_hand():
    ranker = context().ranker("bm25")
    scores = ranker.query_scores("green tea")
    # "green" is in one of seven items, "tea" in three (title and category path of two of them).
    assert np.argmax(scores) == 3
    assert scores[0] == 0
    assert scores[3] > scores[5] > scores[4] > 0
    assert ranker.first_hits("green tea", 10) == [3, 5, 4]
    assert ranker.first_hits("green tea", 2) == [3, 5]
    assert ranker.first_hits("nothing here", 10) == []
    assert ranker.query_scores("").tolist() == [0] * 7


def test_bm25_equals_the_lucene_formula():
    ranker = context().ranker("bm25")
    documents = [tokenise(" ".join(filter(None, (i.title, i.brand, *i.category)))) for i in ITEMS]
    mean_length = sum(map(len, documents)) / len(documents)
    parameters = ranker.parameters
    for query in ("tea shoe", "绿茶"):
        for row, document in enumerate(documents):
            expected = 0.0
            for token in tokenise(query):
                containing = sum(token in one for one in documents)
                idf = math.log(1 + (len(documents) - containing + 0.5) / (containing + 0.5))
                count = document.count(token)
                length = 1 - parameters.b + parameters.b * len(document) / mean_length
                expected += idf * count / (count + parameters.k1 * length)
            assert ranker.query_scores(query)[row] == pytest.approx(expected, rel=1e-5, abs=1e-7)


def test_dense_by_hand():
    search = context().ranker("dense").rank([case(0, query="tea black")], 1)
    assert search[0].tolist() == [5]
    following = context("next_item").ranker("dense").rank([case(1, 0)], 1)
    assert following[0].tolist() == [1]


def test_rank_fusion_with_equal_weights_by_hand():
    one = context()
    cases = [case(0, query="running shoe")]
    scores = np.zeros(7)
    for name in ("bm25", "dense", "item_knn", "popularity_in_category"):
        for place, row in enumerate(one.ranker(name).rank(cases, 7)[0].tolist()):
            scores[row] += 1 / (61 + place)
    fused = one.ranker("rank_fusion").rank(cases, 7)[0].tolist()
    assert one.ranker("rank_fusion").weights == (1.0,) * 4
    np.testing.assert_allclose(scores[fused], np.sort(scores)[::-1], rtol=1e-5)
