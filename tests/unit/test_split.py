from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onesearch_fast.data.records import Dataset, Interaction, Item, User
from onesearch_fast.data.split import Event, cases_of_newcomers, leave_last_out, user_group

ITEMS = tuple(Item(str(i), f"item {i}") for i in range(8))


def row(time, item, event="click", query="q", session=None, user="u", kind=None):
    session_id = None if session is None else str(session)
    return Interaction(user, time, str(item), event, query, session_id, kind)


def split_of(*log, users=()):
    return leave_last_out(Dataset("d", ITEMS, users, log))


def only_case(split, task="search"):
    (case,) = split.cases[task]
    return case


def test_the_last_event_is_held_out_and_history_precedes_it():
    split = split_of(
        row(10, 0, session=1),
        row(20, 1, session=2, query="red mug"),
        row(30, 2, session=3, query="mug", kind="head"),
        users=(User("u", "adult"),),
    )
    case = only_case(split)
    assert (case.target_row, case.query, case.query_kind, case.profile) == (
        2,
        "mug",
        "head",
        "adult",
    )
    assert case.history == (Event(10, 0, "click", "q"), Event(20, 1, "click", "red mug"))
    (history,) = split.log.histories
    assert history.events == case.history
    assert split.name == "d"


def test_search_and_next_item_share_the_target():
    split = split_of(row(10, 0, session=1), row(20, 1, session=2, kind="head"))
    search, following = only_case(split), only_case(split, "next_item")
    assert following == replace(search, query=None, query_kind=None, query_count=0)


def test_everything_from_the_start_of_the_held_out_session_is_cut():
    split = split_of(
        row(10, 0, session=1),
        row(20, 3, "show", session=2),
        row(21, 4, session="between"),
        row(22, 1, session=2),
        row(23, 2, session=2),
        row(24, 5, query=None, session=3),
    )
    case = only_case(split)
    assert case.target_row == 2
    assert [event.row for event in case.history] == [0]
    assert [event.row for history in split.log.histories for event in history.events] == [0]


def test_an_order_merges_with_its_click_at_the_clicks_time():
    split = split_of(
        row(10, 0, session=1),
        row(11, 1, session=1),
        row(12, 0, "order", session=1),
        row(50, 2, session=2),
    )
    assert only_case(split).history == (Event(10, 0, "order", "q"), Event(11, 1, "click", "q"))


def test_an_order_in_another_session_is_its_own_event():
    split = split_of(row(10, 0, session=1), row(12, 0, "order", session=2), row(50, 2, session=3))
    assert only_case(split).history == (Event(10, 0, "click", "q"), Event(12, 0, "order", "q"))


def test_without_session_ids_a_pause_or_another_query_starts_a_session():
    near = split_of(row(0, 0, query="a"), row(5000, 1), row(5000 + 1800, 2))
    assert only_case(near).target_row == 2
    assert [event.row for event in only_case(near).history] == [0]
    far = split_of(row(0, 0, query="a"), row(5000, 1), row(5000 + 1801, 2))
    assert [event.row for event in only_case(far).history] == [0, 1]
    other = split_of(row(0, 0, query="a"), row(5000, 1, query="b"), row(5001, 2, query="c"))
    assert [event.row for event in only_case(other).history] == [0, 1]


def test_ties_in_time_keep_the_order_of_the_log():
    split = split_of(*(row(7, item, session=item) for item in (3, 1, 2)))
    assert only_case(split).target_row == 2
    assert [event.row for event in only_case(split).history] == [3, 1]


def test_the_log_need_not_be_ordered():
    log = [row(30, 2, session=3), row(10, 0, session=1), row(20, 1, session=2)]
    assert split_of(*log) == split_of(*sorted(log, key=lambda one: one.time))


def test_a_target_is_never_in_its_own_history():
    split = split_of(row(10, 0, session=1), row(20, 1, session=2), row(30, 0, session=3))
    case = only_case(split)
    assert case.target_row == 1
    assert [event.row for event in case.history] == [0]


def test_the_last_query_is_held_out_when_browsing_follows():
    split = split_of(
        row(10, 0, session=1), row(20, 1, session=2), row(30, 2, query=None, session=3)
    )
    assert only_case(split).target_row == 1
    assert only_case(split, "next_item").target_row == 1


def test_a_log_without_queries_has_only_next_item_cases():
    split = split_of(row(10, 0, query=None, session=1), row(20, 1, query=None, session=2))
    assert split.cases["search"] == ()
    assert only_case(split, "next_item").target_row == 1


def test_users_with_one_event_give_history_only():
    split = split_of(row(1, 0), row(2, 1, "show"), users=(User("idle"), User("u")))
    assert split.cases["search"] == split.cases["next_item"] == ()
    assert [history.user_id for history in split.log.histories] == ["u"]


def test_counts_are_taken_from_the_train_log_only():
    split = split_of(
        row(1, 1, query="mug", user="a", session=1),
        row(1, 1, query="cup", user="b", session=1),
        row(1, 0, query="mug", user="u", session=1),
        row(2, 1, query="mug", user="u", session=2),
    )
    case = only_case(split)
    assert (case.query_count, case.item_count) == (2, 2)


def test_item_popularity_counts_an_order_twice():
    split = split_of(row(1, 3, user="a"), row(1, 3, "order", user="b"), row(1, 4, user="c"))
    expected = np.zeros(8)
    expected[3], expected[4] = 3, 1
    assert np.array_equal(split.log.item_popularity(), expected)


def test_groups_are_fixed_and_near_the_asked_share():
    names = [f"user {i}" for i in range(5000)]
    stop = [name for name in names if user_group(name, 0.1) == "stop"]
    assert 400 < len(stop) < 600
    assert set(stop) <= {name for name in names if user_group(name, 0.2) == "stop"}
    assert user_group("user 0", 0.0) == "report"
    assert user_group("user 0", 1.0) == "stop"


def test_newcomers_are_asked_by_the_same_rules_and_counted_in_the_log():
    split = split_of(row(1, 0, query="mug"), row(2, 1, query="cup"), row(3, 2, query="jug"))
    log = (
        row(1, 3, query="mug", user="n", session=1),
        row(2, 4, "show", query="cup", user="n", session=2),
        row(3, 1, query="cup", user="n", session=2, kind="head"),
    )
    cases = cases_of_newcomers(split.log, Dataset("d", ITEMS, (User("n", "adult"),), log))
    own = split_of(*log, users=(User("n", "adult"),)).cases
    for task, (case,) in cases.items():
        counted = {"query_count": 1 if case.query else 0, "item_count": 1, "group": "report"}
        assert case == replace(own[task][0], **counted)
    assert cases["search"][0].history == (Event(1, 3, "click", "mug"),)


def test_all_newcomers_are_reported():
    log = [row(time, time, user=f"n{n}", session=time) for n in range(50) for time in (1, 2)]
    cases = cases_of_newcomers(split_of().log, Dataset("d", ITEMS, (), tuple(log)))
    assert [case.group for case in cases["search"]] == ["report"] * 50


@pytest.mark.parametrize("others", [(User("u"),), ()])
def test_a_user_of_the_log_is_no_newcomer(others):
    split = split_of(row(1, 0), row(2, 1, session=2))
    log = () if others else (row(9, 3),)
    with pytest.raises(ValueError, match="dataset: expected no user of the log"):
        cases_of_newcomers(split.log, Dataset("d", ITEMS, others, log))


def test_newcomers_of_another_shop_are_refused():
    with pytest.raises(ValueError, match="dataset: expected the items of the log"):
        cases_of_newcomers(split_of(row(1, 0)).log, Dataset("d", ITEMS[1:]))


@pytest.mark.parametrize("fraction", [-0.1, 1.1, float("nan")])
def test_a_share_outside_the_unit_interval_is_refused(fraction):
    with pytest.raises(ValueError, match="stop_fraction"):
        leave_last_out(Dataset("d", ITEMS), fraction)


LOGS = st.lists(
    st.builds(
        row,
        time=st.integers(0, 40),
        item=st.integers(0, 7),
        event=st.sampled_from(["show", "click", "order"]),
        query=st.sampled_from([None, "a", "b"]),
        session=st.sampled_from([None, 1, 2, 3, 4]),
        user=st.sampled_from(["u", "v"]),
    ),
    max_size=25,
)


@given(LOGS)
def test_histories_are_the_log_before_the_case_and_never_hold_the_target(log):
    split = split_of(*log)
    by_user = {history.user_id: history.events for history in split.log.histories}
    targets = {case.user_id: case for case in split.cases["next_item"]}
    for user_id, case in targets.items():
        assert case.history == by_user.get(user_id, ())
        assert all(event.row != case.target_row for event in case.history)
    for events in by_user.values():
        assert [event.time for event in events] == sorted(event.time for event in events)


@given(LOGS)
def test_altering_the_held_out_item_keeps_the_train_log(log):
    """A fresh item taken in place of the target changes the answer and nothing that may be fitted;
    what was shown before stays, or the log would say by its absence what the target is."""
    split = split_of(*log)
    targets = {case.user_id: ITEMS[case.target_row].item_id for case in split.cases["search"]}
    altered = [
        replace(one, item_id="new")
        if one.event != "show" and targets.get(one.user_id) == one.item_id
        else one
        for one in log
    ]
    items = (*ITEMS, Item("new", "unseen"))
    before = leave_last_out(Dataset("d", items, (), tuple(log)))
    after = leave_last_out(Dataset("d", items, (), tuple(altered)))
    assert before.log.content_hash() == after.log.content_hash()


def test_the_content_hash_sees_every_part_of_the_log():
    base = split_of(row(1, 0, user="a"), row(2, 1, user="b")).log
    first = base.histories[0]
    changed = [
        replace(base, items=(replace(ITEMS[0], price=1.0), *ITEMS[1:])),
        replace(base, items=(replace(ITEMS[0], attributes={"a": ("b",)}), *ITEMS[1:])),
        replace(base, histories=base.histories[::-1]),
        replace(base, histories=(replace(first, profile="x"), *base.histories[1:])),
        replace(
            base,
            histories=(
                replace(first, events=(replace(first.events[0], event="order"),)),
                *base.histories[1:],
            ),
        ),
    ]
    assert len({log.content_hash() for log in (base, *changed)}) == 6
