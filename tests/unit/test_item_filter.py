"""ItemFilter against a loop over items."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from onesearch_fast.index import ItemColumns, ItemFilter, SidTrie, col
from onesearch_fast.testing.tries import random_codes

SIZES = (6, 5, 4)
NUM_ITEMS = 200
ITEM_IDS = np.random.default_rng(1).permutation(NUM_ITEMS) * 17 + 3


@pytest.fixture(scope="module")
def trie() -> SidTrie:
    return SidTrie.build(random_codes(NUM_ITEMS, SIZES, skew=1.0), SIZES, ITEM_IDS)


def check(trie: SidTrie, item_filter: ItemFilter, allowed_ids: set[int]) -> None:
    """Everything the filter says, by looking at every item below every node."""
    ranks = np.arange(trie.num_sids)
    item_ids, offsets = trie.items(ranks)
    allowed = np.array([item in allowed_ids for item in item_ids.tolist()])
    by_rank = np.array([allowed[a:b].any() for a, b in pairwise(offsets)])
    assert item_filter.trie is trie
    assert item_filter.num_allowed_items == allowed.sum()
    assert item_filter.num_allowed_sids == by_rank.sum()
    assert (item_filter.item_allowed() == allowed).all()
    assert (item_filter.contains(item_ids) == allowed).all()
    assert not item_filter.contains([-1, 2**62]).any()
    assert (item_filter.rank_allowed() == by_rank).all()
    for level in range(trie.num_levels + 1):
        nodes = np.arange(trie.num_nodes(level))
        begin, end = trie.rank_range(level, nodes)
        expected = [by_rank[a:b].any() for a, b in zip(begin, end, strict=True)]
        assert item_filter.allows(level, nodes).tolist() == expected


@given(
    allow=st.none() | st.sets(st.sampled_from(ITEM_IDS.tolist())),
    deny=st.none() | st.sets(st.sampled_from(ITEM_IDS.tolist())),
    masks=st.tuples(st.booleans(), st.booleans()),
)
def test_allow_and_deny(
    trie: SidTrie, allow: set[int] | None, deny: set[int] | None, masks: tuple[bool, bool]
) -> None:
    def form(ids: set[int] | None, as_mask: bool) -> Any:
        if ids is None:
            return None
        return np.isin(ITEM_IDS, list(ids)) if as_mask else list(ids)

    item_filter = trie.filter(allow=form(allow, masks[0]), deny=form(deny, masks[1]))
    everything = set(ITEM_IDS.tolist())
    check(trie, item_filter, (everything if allow is None else allow) - (deny or set()))
    assert item_filter.num_unknown_ids == 0


@pytest.mark.parametrize("num_items", [1, 63, 64, 65, 511, 512, 513, 1024, 1500])
def test_every_size_of_the_bitset(num_items: int) -> None:
    codes = np.stack([np.arange(num_items) // 50, np.arange(num_items) % 50], axis=1)
    trie = SidTrie.build(codes, (30, 50))
    mask = np.random.default_rng(num_items).random(num_items) < 0.2
    check(trie, trie.filter(allow=mask), set(np.flatnonzero(mask).tolist()))
    check(trie, trie.filter(), set(range(num_items)))


@given(data=st.data())
def test_filters_combine_as_sets(trie: SidTrie, data: st.DataObject) -> None:
    everything = set(ITEM_IDS.tolist())
    a, b = (data.draw(st.sets(st.sampled_from(ITEM_IDS.tolist()))) for _ in range(2))
    in_a, in_b = trie.filter(allow=list(a)), trie.filter(deny=list(everything - b))
    check(trie, in_a & in_b, a & b)
    check(trie, in_a | in_b, a | b)
    check(trie, in_a - in_b, a - b)
    check(trie, ~in_a, everything - a)
    check(trie, ~(in_a | ~in_b), b - a)


@given(bound=st.integers(-1, 20), allow=st.sets(st.sampled_from(ITEM_IDS.tolist())))
def test_where_allow_and_deny_hold_together(trie: SidTrie, bound: int, allow: set[int]) -> None:
    stars = np.arange(NUM_ITEMS) % 20
    columns = ItemColumns.build(trie, {"stars": stars})
    item_filter = trie.filter(
        allow=list(allow), deny=ITEM_IDS[::3], where=col("stars") < bound, columns=columns
    )
    low = set(ITEM_IDS[stars < bound].tolist())
    check(trie, item_filter, (allow & low) - set(ITEM_IDS[::3].tolist()))


def test_a_filter_that_lets_nothing_through(trie: SidTrie) -> None:
    for nothing in (trie.filter(allow=[]), trie.filter() - trie.filter(), ~trie.filter()):
        check(trie, nothing, set())
        assert not nothing.allows(0, [0])


def test_filters_of_another_catalogue_do_not_combine(trie: SidTrie) -> None:
    other = SidTrie.build(random_codes(NUM_ITEMS, SIZES, skew=1.0), SIZES, ITEM_IDS)
    with pytest.raises(ValueError, match="other: expected a filter of the same catalogue"):
        trie.filter() & other.filter()
    with pytest.raises(TypeError, match="unsupported operand"):
        trie.filter() | True  # type: ignore[operator]


def test_columns_of_another_trie_are_refused(trie: SidTrie) -> None:
    other = SidTrie.build(random_codes(NUM_ITEMS, SIZES, seed=9), SIZES, ITEM_IDS)
    columns = ItemColumns.build(other, {"stars": np.arange(NUM_ITEMS)})
    with pytest.raises(ValueError, match="columns: expected ItemColumns of this trie, which"):
        trie.filter(where=col("stars") < 3, columns=columns)
    with pytest.raises(TypeError, match=r"got <class 'NoneType'>; make them with ItemColumns"):
        trie.filter(where=col("stars") < 3)
    with pytest.raises(TypeError, match="condition: expected an expression or col"):
        trie.filter(where=5, columns=columns)


def test_unknown_ids_match_nothing_and_are_counted(trie: SidTrie) -> None:
    item_filter = trie.filter(allow=[int(ITEM_IDS[0]), 1, -7, 2**62], deny=[10**6])
    check(trie, item_filter, {int(ITEM_IDS[0])})
    assert item_filter.num_unknown_ids == 4


def test_masks_follow_the_rows_of_build_and_may_be_strided_or_torch(trie: SidTrie) -> None:
    mask = np.zeros(2 * NUM_ITEMS, dtype=bool)
    mask[6] = True
    expected = {int(ITEM_IDS[3])}
    check(trie, trie.filter(allow=mask[::2]), expected)
    check(trie, trie.filter(allow=torch.from_numpy(mask[::2].copy())), expected)
    check(trie, trie.filter(allow=torch.tensor([int(ITEM_IDS[3])])), expected)


def test_a_filter_keeps_its_trie_alive() -> None:
    item_filter = SidTrie.build(random_codes(50, SIZES), SIZES).filter(deny=[0])
    assert item_filter.trie.num_items == 50
    assert item_filter.allows(0, [0]).tolist() == [True]
    assert repr(item_filter) == "ItemFilter(49 of 50 items)"


def test_nodes_that_do_not_exist_are_not_allowed(trie: SidTrie) -> None:
    nodes = [-1, trie.num_nodes(2), 2**40]
    assert trie.filter().allows(2, nodes).tolist() == [False, False, False]


@pytest.mark.parametrize(
    ("kind", "message", "arguments"),
    [
        (ValueError, "allow: expected a mask of shape [200], got [3]", {"allow": [True] * 3}),
        (ValueError, "deny: expected a mask of shape [200]", {"deny": np.ones((200, 1), bool)}),
        (TypeError, "allow: expected an integer dtype, got float64", {"allow": [0.5]}),
        (TypeError, "deny: expected an integer dtype", {"deny": ["item-1"]}),
        (ValueError, "allow: expected shape [n], got [1, 1]", {"allow": [[1]]}),
        (TypeError, "got object; pass a list or an array of integers", {"allow": {1, 2}}),
    ],
)
def test_bad_sets_are_refused(
    trie: SidTrie, kind: type[Exception], message: str, arguments: dict[str, Any]
) -> None:
    with pytest.raises(kind) as error:
        trie.filter(**arguments)
    assert message in str(error.value)


def test_bad_levels_are_refused(trie: SidTrie) -> None:
    with pytest.raises(ValueError, match="level: expected 0 to 3, got 4"):
        trie.filter().allows(4, [0])
    with pytest.raises(TypeError, match=r"trie\.filter"):
        ItemFilter()


def test_conditions_may_be_given_as_text() -> None:
    trie = SidTrie.build([[0, 1], [1, 0], [1, 1]], (2, 2))
    columns = ItemColumns.build(trie, {"price": [5.0, 50.0, 500.0]})
    chosen = trie.filter(where="price between 10 and 100", columns=columns)
    assert chosen.num_allowed_items == 1
    with pytest.raises(ValueError, match="did you mean 'between'"):
        trie.filter(where="price betwen 1 and 2", columns=columns)
