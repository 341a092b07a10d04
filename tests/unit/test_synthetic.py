from __future__ import annotations

import os
import random
import subprocess
import sys
from collections import Counter, defaultdict
from dataclasses import replace

import numpy as np
import pytest

from onesearch_fast.data.readers import read_dataset
from onesearch_fast.data.readers.native import write_folder
from onesearch_fast.data.split import cases_of_newcomers, leave_last_out
from onesearch_fast.data.synthetic import make_newcomers, make_synthetic
from onesearch_fast.data.synthetic.concepts import LANGUAGES, load_lexicon
from onesearch_fast.data.synthetic.phrases import BUYER, SELLER, Phrases
from onesearch_fast.data.synthetic.sessions import KINDS, MAX_SHOWN
from onesearch_fast.data.synthetic.utility import (
    ASKED_VALUE,
    IN_CATEGORY,
    NEGATED_VALUE,
    OVER_PRICE,
    SAME_SERIES,
    WEIGHT_STEP,
    GumbelNoise,
    Intent,
    Layout,
    intent_weights,
    subtract_penalties,
)
from onesearch_fast.data.validate import title_language


@pytest.fixture(scope="module")
def small():
    return make_synthetic(seed=3, num_items=600, num_users=300)


@pytest.fixture(scope="module")
def split(small):
    return leave_last_out(small.dataset)


def written(dataset, folder):
    write_folder(dataset, folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_equal_seeds_give_equal_bytes_and_other_seeds_do_not(tmp_path):
    sizes = {"num_items": 400, "num_users": 200}
    first = written(make_synthetic(seed=0, **sizes).dataset, tmp_path / "a")
    again = written(make_synthetic(seed=0, **sizes).dataset, tmp_path / "b")
    other = written(make_synthetic(seed=1, **sizes).dataset, tmp_path / "c")
    assert first == again
    assert all(first[name] != other[name] for name in first)


def test_newcomers_are_other_users_of_the_same_shop(small, split):
    others = make_newcomers(seed=3, num_items=600, num_users=300)
    assert others.dataset.items == small.dataset.items
    ids = [{user.user_id for user in shop.dataset.users} for shop in (small, others)]
    assert len(ids[1]) == 300 and not ids[0] & ids[1]
    assert {row.user_id for row in others.dataset.interactions} <= ids[1]
    # Streams of their own: other tastes, and the same words only where few words are possible.
    tastes = [shop.oracle._shoppers.tastes for shop in (small, others)]
    assert not np.array_equal(*tastes)
    said = [{row.query for row in shop.dataset.interactions} for shop in (small, others)]
    assert len(said[0] & said[1]) < 0.4 * len(said[1])
    cases = cases_of_newcomers(split.log, others.dataset)["search"]
    ranked = others.oracle.rank(cases, 10)
    targets = np.array([case.target_row for case in cases])
    assert (ranked == targets[:, None]).any(axis=1).mean() > 0.7
    assert make_newcomers(seed=3, num_items=600, num_users=300).dataset == others.dataset


def test_another_process_with_other_hashes_of_strings_draws_the_same(small):
    command = (
        "from onesearch_fast.data import leave_last_out, make_synthetic;"
        "data = make_synthetic(seed=3, num_items=600, num_users=300).dataset;"
        "print(leave_last_out(data).log.content_hash())"
    )
    hashes = {
        subprocess.run(
            [sys.executable, "-c", command],
            env={**os.environ, "PYTHONHASHSEED": seed},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert hashes == {leave_last_out(small.dataset).log.content_hash()}


def test_it_reads_back_from_a_folder(small, tmp_path):
    write_folder(small.dataset, tmp_path / "synthetic")
    assert read_dataset(tmp_path / "synthetic") == small.dataset


def test_the_log_looks_like_search_sessions(small):
    sessions = defaultdict(list)
    for row in small.dataset.interactions:
        sessions[row.session_id].append(row)
    for rows in sessions.values():
        assert len({(row.user_id, row.query, row.query_kind) for row in rows}) == 1
        assert [row.time for row in rows] == sorted(row.time for row in rows)
        shown = [row.item_id for row in rows if row.event == "show"]
        clicked = [row.item_id for row in rows if row.event == "click"]
        ordered = [row.item_id for row in rows if row.event == "order"]
        assert 1 <= len(shown) == len(set(shown)) <= MAX_SHOWN
        assert len(clicked) <= 1 and set(clicked) <= set(shown) and set(ordered) <= set(clicked)
    per_user = Counter(rows[0].user_id for rows in sessions.values())
    assert len(per_user) == len(small.dataset.users)
    assert 9 < np.mean(list(per_user.values())) < 15
    assert min(per_user.values()) <= 3


def test_nobody_clicks_one_item_twice(small):
    clicks = Counter(
        (row.user_id, row.item_id) for row in small.dataset.interactions if row.event == "click"
    )
    assert max(clicks.values()) == 1


def test_every_kind_of_query_and_both_languages_occur(small):
    queries = {row.session_id: row for row in small.dataset.interactions}.values()
    kinds = Counter(row.query_kind for row in queries)
    assert kinds.keys() == KINDS.keys()
    languages = Counter(title_language(row.query) for row in queries)
    assert 0.28 < languages["chinese"] / len(queries) < 0.42
    titles = Counter(title_language(item.title) for item in small.dataset.items)
    assert min(titles["latin"], titles["chinese"], titles["mixed"]) > 0


def test_few_head_queries_are_asked_often_and_many_tail_queries_seldom(small):
    asked = defaultdict(Counter)
    for row in {row.session_id: row for row in small.dataset.interactions}.values():
        asked[row.query_kind][row.query] += 1
    repeats = {kind: sum(queries.values()) / len(queries) for kind, queries in asked.items()}
    assert repeats["head"] > 2.5
    assert repeats["tail"] < 1.1


def test_every_category_and_most_brands_have_items(small):
    categories = {item.category for item in small.dataset.items}
    lexicon = load_lexicon()
    assert categories == {category.path for category in lexicon.categories}
    assert 40 <= len(categories) <= 50 and len(lexicon.brands) == 120
    assert len({item.brand for item in small.dataset.items}) > 100


def test_popularity_has_a_head_and_a_tail(split):
    popularity = np.sort(split.log.item_popularity())[::-1]
    top = popularity[: len(popularity) // 10].sum() / popularity.sum()
    assert 0.2 < top < 0.6


def test_the_default_catalogue_leaves_room_between_popularity_and_the_oracle():
    """The design goal set before any model was trained, on a quarter of the default users."""
    summary = make_synthetic(num_users=1500).summary()
    assert summary.counts["items"] == 12_000 and summary.counts["users"] == 1500
    assert sum(summary.query_kinds.values()) == summary.counts["sessions"]
    assert summary.oracle_hr10.keys() == KINDS.keys() | {"all"}
    assert 0.5 < summary.oracle_hr10["all"] < 0.7
    assert summary.category_popularity_hr10["all"] < 0.5 * summary.oracle_hr10["all"]


def test_the_oracle_beats_its_own_ranking_for_another_users_intent(small, split):
    """Sanity of the ceiling: the right session's utilities rank the target best on average."""
    cases = split.cases["search"]
    ranked = small.oracle.rank(cases, 50)
    places = [
        np.flatnonzero(rows == case.target_row) for rows, case in zip(ranked, cases, strict=True)
    ]
    right = np.mean([len(place) > 0 and place[0] < 1 for place in places])
    shifted = np.mean(
        [
            rows[0] == case.target_row
            for rows, case in zip(np.roll(ranked, 1, 0), cases, strict=True)
        ]
    )
    assert right > 0.3 > 10 * shifted


def test_oracle_rankings_obey_the_ranker_contract(small, split):
    assert small.oracle.name == "oracle"
    for cases in split.cases.values():
        ranked = small.oracle.rank(cases[:40], 700)
        assert ranked.dtype == np.int32 and ranked.shape == (40, 700)
        for rows, case in zip(ranked, cases, strict=False):
            history = {event.row for event in case.history}
            known = rows[rows >= 0]
            assert len(known) == len(set(known.tolist())) == 600 - len(history)
            assert not history & set(known.tolist())
            assert (rows[len(known) :] == -1).all()
        assert np.array_equal(small.oracle.rank(cases[:40], 5), ranked[:, :5])
    assert small.oracle.rank([], 5).shape == (0, 5)


def test_without_a_query_the_oracle_knows_tastes_only(small, split):
    search, following = split.cases["search"], split.cases["next_item"]

    def hit_rate(cases):
        ranked = small.oracle.rank(cases, 10)
        targets = np.array([case.target_row for case in cases])
        return (ranked == targets[:, None]).any(axis=1).mean()

    assert hit_rate(search) > 2 * hit_rate(following) > 20 / 600


def test_the_oracle_refuses_cases_of_another_log(small, split):
    case = split.cases["search"][0]
    with pytest.raises(ValueError, match="leave_last_out"):
        small.oracle.rank([replace(case, user_id="nobody")], 5)
    with pytest.raises(ValueError, match="leave_last_out"):
        small.oracle.rank([replace(case, query="something else")], 5)
    with pytest.raises(ValueError, match="k: expected at least 1"):
        small.oracle.rank([case], 0)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"seed": -1}, "seed"),
        ({"num_items": 10}, "num_items"),
        ({"num_users": 0}, "num_users"),
        ({"sessions_per_user": 0.0}, "sessions_per_user"),
        ({"sessions_per_user": float("nan")}, "sessions_per_user"),
        ({"num_days": 0}, "num_days"),
    ],
)
def test_bad_sizes_are_refused(arguments, name):
    with pytest.raises(ValueError, match=f"make_synthetic: {name}: expected"):
        make_synthetic(**arguments)


def test_a_tiny_shop_with_few_sessions_works():
    tiny = make_synthetic(num_items=200, num_users=1, sessions_per_user=0.5, num_days=1)
    assert len(tiny.dataset.users) == 1 and len(tiny.dataset.interactions) >= 1


LAYOUT = Layout(num_categories=2, num_values=3, num_brands=2)


def test_intent_weights_stand_in_their_columns():
    weights = intent_weights(LAYOUT, [Intent("tail", (1,), wanted=(0,), negated=(2,), brand=1)])
    assert weights.shape == (1, LAYOUT.width)
    assert weights[0].tolist() == [
        0,
        IN_CATEGORY,
        ASKED_VALUE,
        0,
        NEGATED_VALUE,
        0,
        4,
        0,
        0,
        0,
        0,
        0,
        0,
    ]


def test_penalties_fall_on_dear_items_and_on_the_avoided_series():
    utilities = np.zeros((2, 3), dtype=np.float32)
    intents = [Intent("substitution", (0,), avoided_series=7, max_price=10.0), Intent("head", (0,))]
    subtract_penalties(
        utilities, intents, np.array([10.0, 11.0, 12.0], dtype=np.float32), np.array([7, 7, -1])
    )
    assert utilities.tolist() == [[SAME_SERIES, OVER_PRICE + SAME_SERIES, OVER_PRICE], [0, 0, 0]]


def test_the_noise_is_standard_gumbel_on_the_grid():
    noise = GumbelNoise(np.random.default_rng(0)).draw((200_000,))
    assert noise.dtype == np.float32
    assert np.array_equal(noise, np.round(noise / WEIGHT_STEP) * WEIGHT_STEP)
    assert abs(noise.mean() - 0.5772) < 0.02
    assert abs(noise.std() - np.pi / np.sqrt(6)) < 0.02


def test_utilities_are_exact_sums(small, split):
    """float32 products summed in any order give the same bits, so no BLAS can change a choice."""
    rng = np.random.default_rng(0)
    oracle = small.oracle
    features = oracle._catalogue.features
    weights = oracle._shoppers.tastes[0] + intent_weights(
        oracle._catalogue.layout, [Intent("tail", (0,), (1, 2))]
    )
    exact = weights.astype(np.float64) @ features.T.astype(np.float64)
    order = rng.permutation(features.shape[1])
    shuffled = np.ascontiguousarray(weights[:, order]) @ np.ascontiguousarray(features[:, order]).T
    assert np.array_equal(weights @ features.T, exact)
    assert np.array_equal(shuffled, exact)


def test_the_lexicon_has_words_in_both_languages_for_everything():
    lexicon = load_lexicon()
    things = [*lexicon.values, *lexicon.categories]
    things += [question for category in lexicon.categories for question in category.questions]
    for thing in things:
        for language in LANGUAGES:
            assert len(thing.forms[language]) >= 2 and all(thing.forms[language])
            expected = {"zh": "chinese", "en": "latin"}[language]
            if language == "en":
                assert all(
                    title_language(form) in (expected, "other") for form in thing.forms["en"]
                )
    names = [brand[language][0] for brand in lexicon.brands for language in LANGUAGES]
    assert len(names) == len(set(names))


def test_questions_stay_in_one_department_and_ask_for_what_exists():
    lexicon = load_lexicon()
    for number, category in enumerate(lexicon.categories):
        assert category.questions and category.companions and number not in category.companions
        offered = {value for values in category.values.values() for value in values}
        for question in category.questions:
            assert set(question.values) <= offered
            departments = {lexicon.categories[other].department for other in question.categories}
            assert departments == {category.department}


def test_sellers_and_buyers_prefer_different_words():
    lexicon = load_lexicon()
    phrases = Phrases(lexicon, random.Random(0))
    forms = lexicon.values[0].forms["en"]
    seller = Counter(phrases.pick(forms, SELLER) for _ in range(2000))
    buyer = Counter(phrases.pick(forms, BUYER) for _ in range(2000))
    assert seller.most_common(1)[0][0] == forms[0]
    assert buyer[forms[0]] < 0.25 * 2000 < seller[forms[0]]


def test_profiles_speak_the_users_language(small):
    profiles = [user.profile for user in small.dataset.users if user.profile]
    assert 0.6 * 300 < len(profiles) < 300
    assert any(profile.startswith("女 ") for profile in profiles)
    assert any(profile.startswith("man, ") for profile in profiles)
