"""Rewards, by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest

from onesearch_fast.data.records import Item
from onesearch_fast.data.split import Event, Impression, TrainLog, UserHistory, leave_last_out
from onesearch_fast.data.synthetic import make_synthetic
from onesearch_fast.train.rewards.behaviour import Behaviour, query_sessions
from onesearch_fast.train.rewards.calibration import ItemCounts
from onesearch_fast.train.rewards.composite import CompositeReward
from onesearch_fast.train.rewards.relevance import CategoryRelevance

WOMEN, SHOES = ("women", "dresses"), ("women", "shoes")
ITEMS = (
    Item("0", "red dress", "silka", WOMEN),
    Item("1", "blue dress", "silka", WOMEN),
    Item("2", "red boots", "boota", SHOES),
    Item("3", "drill", "tooly", ("tools",)),
    Item("4", "green dress", "silka", WOMEN),
)
HISTORY = UserHistory(
    "u",
    None,
    (
        Event(0, 2, "click", "red boots"),
        Event(9000, 0, "order", "dresses"),
        Event(9010, 1, "click", "dresses"),
        Event(9020, 4, "order", None),
    ),
)
SHOWN = (Impression("u", 8999, 0, "dresses"), Impression("u", 8999, 3, "dresses"))
LOG = TrainLog(ITEMS, (HISTORY,), SHOWN)


def test_rates_by_hand():
    counts = ItemCounts.of(LOG)
    assert counts.shown.tolist() == [1, 1, 1, 1, 1]  # a click was shown, logged or not
    assert counts.clicked.tolist() == [1, 1, 1, 0, 1]
    assert counts.ordered.tolist() == [1, 0, 0, 0, 1]
    assert counts.ctr()[0] == pytest.approx(1 / 3)
    assert counts.cvr()[0] == 1.0
    assert counts.cvr()[1] == pytest.approx(math.log(10) / math.log(11))
    assert counts.quality()[0] == pytest.approx(2 * (1 / 3) / (4 / 3))


def test_rates_stay_rates_whatever_is_counted():
    big = np.array([0.0, 1e12, 5.0])
    counts = ItemCounts(np.maximum(big, 7), big, big / 2)
    for rate in (counts.ctr(), counts.cvr(), counts.quality()):
        assert ((rate > 0) & (rate <= 1)).all()


def test_sessions_know_six_levels():
    first, second = query_sessions(LOG, num_unwanted=4)
    assert first.query == "red boots" and first.begin == 0
    assert first.wanted == (Behaviour(2, 1.0),)
    assert second.query == "dresses" and second.begin == 1
    assert second.wanted == (Behaviour(0, 2.0), Behaviour(4, 1.5), Behaviour(1, 1.0))
    assert second.unwanted[0] == Behaviour(3, 0.5)


@pytest.mark.parametrize("kinds", [("order", "click"), ("click", "order")])
def test_the_strongest_of_several_behaviours_counts(kinds):
    events = tuple(Event(n, 0, kind, "dresses") for n, kind in enumerate(kinds))
    log = TrainLog(ITEMS, (UserHistory("u", None, events),))
    (session,) = query_sessions(log)
    assert session.wanted == (Behaviour(0, 2.0),)


def test_an_order_elsewhere_is_more_than_a_click():
    events = (Event(0, 0, "click", "dresses"), Event(9, 0, "order", None))
    (session,) = query_sessions(TrainLog(ITEMS, (UserHistory("u", None, events),)))
    assert session.wanted == (Behaviour(0, 1.5),)


def test_nothing_unwanted_was_taken():
    log = leave_last_out(make_synthetic(seed=3, num_items=200, num_users=40).dataset).log
    assert log.shown
    levels = set()
    for session in query_sessions(log):
        taken = {event.row for event in log.histories[session.user].events}
        assert not taken & {one.row for one in session.unwanted}
        assert {one.row for one in session.wanted} <= taken
        levels |= {one.level for one in session.unwanted}
    assert levels == {0.5, 0.2, 0.0}


def test_relevance_has_four_tiers():
    relevance = CategoryRelevance(LOG)
    # "dresses" was clicked for dresses; the boots are of the same department, the drill of none.
    assert relevance.tiers("dresses", [0, 1, 2, 3]).tolist() == [3, 3, 1, 0]
    assert relevance.tiers("silka", [0, 3]).tolist() == [3, 0]  # never asked: by its words
    assert relevance.tiers("nothing known", [0]).tolist() == [0]


def test_what_a_query_excludes_is_not_asked_for():
    """Without the clicks, "not red" would be judged by whether an item is red."""
    colours = ("red", "blue", "red", "grey", "green")
    items = tuple(
        replace(item, attributes={"color": (colour,)})
        for item, colour in zip(ITEMS, colours, strict=True)
    )
    events = (Event(0, 1, "click", "dress not red"), Event(9000, 4, "click", "dress not red"))
    relevance = CategoryRelevance(TrainLog(items, (HISTORY, UserHistory("v", None, events))))
    assert relevance.tiers("red", [0, 1]).tolist() == [3, 0]  # nobody asked it
    assert relevance.tiers("dress not red", [1, 4, 2, 3]).tolist() == [3, 3, 1, 0]


def test_reward_by_hand():
    reward = CompositeReward(LOG, CategoryRelevance(LOG))
    session = query_sessions(LOG)[1]
    got = reward("dresses", [0, 1, 2, 3, 0], session.wanted)
    ctr = ItemCounts.of(LOG).ctr()
    expected = [4 + ctr[0] + 3, 3 + ctr[1] + 3, ctr[2] + 1, ctr[3], 4 + ctr[0] + 3]
    assert got.tolist() == pytest.approx(expected)
