"""SIDs to items: the vectorised expansion against a plain loop."""

from __future__ import annotations

import tracemalloc

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

import onesearch_fast as osf
from onesearch_fast.engine.catalogues import Catalogues
from onesearch_fast.engine.expansion import (
    ALL_ITEMS,
    ExpansionRule,
    ItemTest,
    RankedItems,
    expand,
    items_of,
)
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
    scores: list[list[float]],
    counts: list[float] | None,
) -> list[list[tuple[int, int]]]:
    """(item id, beam) of each request."""
    answers = []
    for request, row in enumerate(rank):
        found: list[tuple[float, int, int]] = []
        for beam, one in enumerate(row):
            every = [] if one < 0 else TRIE.items([one])[0].tolist()
            items = [i for i in every if i not in last] + [i for i in every if i in last]
            refused = dropped | set(removed[request])
            items = [i for i in items if i in allowed[request] and i not in refused]
            shares = log_shares(every, last, counts)
            found += [(scores[request][beam] + shares[i], i, beam) for i in items[:per_sid]]
        if counts is not None:
            found.sort(key=lambda one: -one[0])
        answers.append([(item, beam) for _, item, beam in found[:k]])
    return answers


def log_shares(items: list[int], last: set[int], counts: list[float] | None) -> dict[int, float]:
    """log p(item | SID) of the items of one SID; by the same functions, so that ties are ties."""
    taken = {i: counts[i] if counts is not None and i < len(counts) else 0.0 for i in items}
    total = sum(1.0 + n for n in taken.values())
    shares = {i: float(np.log1p(n) - np.log(total)) for i, n in taken.items()}
    return {i: min(shares.values()) if i in last else share for i, share in shares.items()}


def any_of(items: set[int]) -> ItemTest:
    return items_of(np.isin(np.arange(NUM_ITEMS * 10), list(items)))


def filter_of(items: set[int]) -> osf.ItemFilter:
    return TRIE.filter(allow=np.array(sorted(items), dtype=np.int64))


def whole_catalogue(k: int, rule: ExpansionRule = ALL_ITEMS) -> RankedItems:
    rank = np.arange(TRIE.num_sids)[None]
    return expand(CATALOGUES, None, rank, -rank.astype(np.float32), k, rule)


ANY_ITEMS = st.sets(st.sampled_from(range(0, NUM_ITEMS * 10, 10)))
# Apart by more than rounding, or equal; the ids behind the last count have none.
SCORES = st.lists(st.integers(-40, 0).map(lambda one: one / 8), min_size=7, max_size=7)
COUNTS = st.none() | st.lists(st.integers(0, 5).map(float), min_size=200, max_size=400)


@given(data=st.data(), k=st.integers(1, 50), per_sid=st.sampled_from([None, 1, 3]))
def test_expansion_equals_a_plain_loop(data: st.DataObject, k: int, per_sid: int | None) -> None:
    beams = st.permutations(list(range(TRIE.num_sids))).map(lambda order: [*order[:6], -1])
    rank = [data.draw(beams) for _ in range(2)]
    allowed = [data.draw(ANY_ITEMS) for _ in range(2)]
    last, dropped = data.draw(ANY_ITEMS), data.draw(ANY_ITEMS)
    removed = [sorted(data.draw(ANY_ITEMS)) for _ in range(2)]
    width = max(map(len, removed))
    scores = [sorted(data.draw(SCORES), reverse=True) for _ in range(2)]
    counts = data.draw(COUNTS)
    rule = ExpansionRule(
        items_per_sid=per_sid,
        last=any_of(last),
        dropped=any_of(dropped),
        removed=np.array([row + [-1] * (width - len(row)) for row in removed]).reshape(2, width),
        counts=None if counts is None else np.array(counts, dtype=np.float32),
    )
    filters = [filter_of(items) for items in allowed]
    known = np.array(scores, dtype=np.float32)
    got = expand(CATALOGUES, filters, np.array(rank), known, k, rule)
    expected = plain(rank, k, per_sid, allowed, last, dropped, removed, scores, counts)
    assert got.count.tolist() == [len(found) for found in expected]
    for row, found in enumerate(expected):
        padding = [(-1, -1)] * (k - len(found))
        pairs = zip(got.item_ids[row].tolist(), got.beam[row].tolist(), strict=True)
        assert list(pairs) == found + padding


def test_without_choices_all_items_come_in_the_order_of_the_trie() -> None:
    got = whole_catalogue(NUM_ITEMS)
    assert got.item_ids[0].tolist() == TRIE.items(np.arange(TRIE.num_sids))[0].tolist()
    assert got.count.tolist() == [NUM_ITEMS]


def test_items_stand_by_their_own_likelihood() -> None:
    rank = np.argsort(-np.diff(TRIE.items(np.arange(TRIE.num_sids))[1]))[None, :2]
    first, second = (TRIE.items([one])[0] for one in rank[0])
    counts = np.zeros(NUM_ITEMS * 10, dtype=np.float32)
    counts[first[0]] = 100.0
    scores = np.array([[-1.0, -1.5]], dtype=np.float32)

    def listed(last: set[int]) -> list[int]:
        rule = ExpansionRule(last=any_of(last), counts=counts)
        found = expand(CATALOGUES, None, rank, scores, len(first) + len(second), rule)
        return found.item_ids[0].tolist()

    others = first[1:].tolist()
    assert len(others) > 1
    assert listed(set()) == [first[0], *second.tolist(), *others]
    assert listed({int(first[0])}) == [*second.tolist(), *others, first[0]]


def test_a_long_past_needs_no_memory_per_item_found() -> None:
    removed = np.arange(100_000, dtype=np.int64)[None] * 20
    tracemalloc.start()
    found = whole_catalogue(NUM_ITEMS, ExpansionRule(removed=removed))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sorted(found.item_ids[0, : found.count[0]].tolist()) == list(range(10, 400, 20))
    assert peak < 16 * removed.nbytes, "every item found beside every past one is 40 times as much"
