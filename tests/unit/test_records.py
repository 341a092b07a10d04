from __future__ import annotations

import math

import pytest

from onesearch_fast.data.records import Dataset, Interaction, Item, JudgedQuery, User, item_text
from onesearch_fast.errors import DataError

ITEMS = (Item("a", "red mug"), Item("b", "blue mug", price=3.0))


def test_item_text_joins_every_field_and_skips_absent_ones():
    item = Item("1", "Mug", "Bo", ("Home", "Cups"), {"material": ("clay",), "colour": ("red", "x")})
    assert item_text(item) == "Mug Bo Home Cups red x clay"
    assert item_text(Item("1", "Mug")) == "Mug"
    assert item_text(Item("1", "", category=("Home",))) == "Home"


def test_item_text_does_not_depend_on_the_order_of_attribute_types():
    one = Item("1", "Mug", attributes={"a": ("x",), "b": ("y",)})
    other = Item("1", "Mug", attributes={"b": ("y",), "a": ("x",)})
    assert item_text(one) == item_text(other)


def test_a_sound_dataset_is_accepted():
    log = (Interaction("u", 5, "a", "show"), Interaction("u", 6, "a", "click", "mug"))
    data = Dataset("d", ITEMS, (User("u"),), log, (JudgedQuery("mug", "b", 2.0),))
    assert len(data.interactions) == 2


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"items": ()}, "at least one item"),
        ({"items": (*ITEMS, Item("a", "again"))}, "distinct item_id"),
        ({"users": (User("u"), User("u"))}, "distinct user_id"),
        ({"items": (Item("a", "t", price=-1.0),)}, "price >= 0"),
        ({"items": (Item("a", "t", price=math.nan),)}, "price >= 0"),
        ({"items": (Item("", "t"),)}, "non-empty item_id"),
        ({"interactions": (Interaction("u", 1, "zzz", "click"),)}, "zzz"),
        ({"interactions": (Interaction("u", 1, "a", "view"),)}, "view"),
        ({"interactions": (Interaction("u", 1.5, "a", "click"),)}, "whole unix seconds"),
        ({"judged_queries": (JudgedQuery("q", "zzz", 1.0),)}, "zzz"),
        ({"judged_queries": (JudgedQuery("q", "a", math.inf),)}, "finite grade"),
    ],
)
def test_a_broken_dataset_is_refused(fields, words):
    with pytest.raises(DataError, match=words):
        Dataset(**{"name": "d", "items": ITEMS, **fields})
