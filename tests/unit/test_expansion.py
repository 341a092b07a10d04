"""SIDs to items: the vectorised expansion against a plain loop."""

from __future__ import annotations

import tracemalloc

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

import onesearch_fast as osf
from onesearch_fast.engine.catalogues import Catalogues
from onesearch_fast.engine.expansion import ALL_ITEMS, ExpansionRule, RankedItems, expand
from onesearch_fast.testing import random_codes

SIZES = (3, 3)
NUM_ITEMS = 40
TRIE = osf.SidTrie.build(
    random_codes(NUM_ITEMS, SIZES, seed=1), SIZES, item_ids=np.arange(NUM_ITEMS) * 10
)
CATALOGUES = Catalogues((TRIE,))


def plain(
    rank: list[list[int]],
    k: int,
    per_sid: int | None,
    allowed: list[set[int]],
    last: set[int],
    dropped: set[int],
    removed: list[list[int]],
) -> list[list[tuple[int, int]]]:
    """(item id, beam) of each request."""
    answers = []
    for request, row in enumerate(rank):
        found: list[tuple[int, int]] = []
        for beam, one in enumerate(row):
            items = [] if one < 0 else TRIE.items([one])[0].tolist()
            items = [i for i in items if i not in last] + [i for i in items if i in last]
            refused = dropped | set(removed[request])
            items = [i for i in items if i in allowed[request] and i not in refused]
            found += [(item, beam) for item in items[:per_sid]]
        answers.append(found[:k])
    return answers


def mask(items: set[int]) -> np.ndarray:
    """bool by item id."""
    return np.isin(np.arange(NUM_ITEMS * 10), list(items))


def filter_of(items: set[int]) -> osf.ItemFilter:
    return TRIE.filter(allow=np.array(sorted(items), dtype=np.int64))


def whole_catalogue(k: int, rule: ExpansionRule = ALL_ITEMS) -> RankedItems:
    return expand(CATALOGUES, None, np.arange(TRIE.num_sids)[None], k, rule)


ANY_ITEMS = st.sets(st.sampled_from(range(0, NUM_ITEMS * 10, 10)))


@given(data=st.data(), k=st.integers(1, 50), per_sid=st.sampled_from([None, 1, 3]))
def test_expansion_equals_a_plain_loop(data: st.DataObject, k: int, per_sid: int | None) -> None:
    beams = st.permutations(list(range(TRIE.num_sids))).map(lambda order: [*order[:6], -1])
    rank = [data.draw(beams) for _ in range(2)]
    allowed = [data.draw(ANY_ITEMS) for _ in range(2)]
    last, dropped = data.draw(ANY_ITEMS), data.draw(ANY_ITEMS)
    removed = [sorted(data.draw(ANY_ITEMS)) for _ in range(2)]
    width = max(map(len, removed))
    rule = ExpansionRule(
        items_per_sid=per_sid,
        last=mask(last),
        dropped=mask(dropped),
        removed=np.array([row + [-1] * (width - len(row)) for row in removed]).reshape(2, width),
    )
    got = expand(CATALOGUES, [filter_of(items) for items in allowed], np.array(rank), k, rule)
    expected = plain(rank, k, per_sid, allowed, last, dropped, removed)
    assert got.count.tolist() == [len(found) for found in expected]
    for row, found in enumerate(expected):
        padding = [(-1, -1)] * (k - len(found))
        pairs = zip(got.item_ids[row].tolist(), got.beam[row].tolist(), strict=True)
        assert list(pairs) == found + padding


def test_without_choices_all_items_come_in_the_order_of_the_trie() -> None:
    got = whole_catalogue(NUM_ITEMS)
    assert got.item_ids[0].tolist() == TRIE.items(np.arange(TRIE.num_sids))[0].tolist()
    assert got.count.tolist() == [NUM_ITEMS]


def test_a_long_past_needs_no_memory_per_item_found() -> None:
    removed = np.arange(100_000, dtype=np.int64)[None] * 20
    tracemalloc.start()
    found = whole_catalogue(NUM_ITEMS, ExpansionRule(removed=removed))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sorted(found.item_ids[0, : found.count[0]].tolist()) == list(range(10, 400, 20))
    assert peak < 16 * removed.nbytes, "every item found beside every past one is 40 times as much"
