"""SID quality: small cases by hand, brute force, and bad input."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import onesearch_fast as osf
from onesearch_fast.sid.quality import largest_buckets, prefix_ids, quality

CODES = np.array([[0, 0], [0, 0], [0, 1], [2, 3]])


def test_figures_of_a_small_case_by_hand() -> None:
    q = quality(CODES, (4, 4))
    assert (q.num_items, q.num_sids, q.largest_bucket) == (4, 3, 2)
    assert q.cur == (2 / 4, 3 / 16)
    assert q.level_use == (2 / 4, 3 / 4)
    assert q.icr_sid == pytest.approx(2 / 3)
    assert q.icr_item == pytest.approx(2 / 4)
    assert q.collision_rate == pytest.approx(1 / 4)
    # Counts (1, 3): mean difference 1 over twice the mean 2; counts (1, 1, 2): 4/9 over 8/3.
    assert q.gini == pytest.approx((1 / 4, 1 / 6))
    assert q.reconstruction_error is None


def test_reconstruction_error_is_the_unexplained_share_of_variance() -> None:
    embeddings = np.array([[0.0, 0], [0, 0], [3, 0], [9, 4]])
    q = quality(CODES, (4, 4), embeddings)
    total = ((embeddings - embeddings.mean(axis=0)) ** 2).sum()
    assert q.reconstruction_error == pytest.approx((6 / total, 0.0))
    assert quality(CODES, (4, 4), np.ones((4, 2))).reconstruction_error == (0.0, 0.0)


rows = st.lists(st.tuples(*[st.integers(0, 2)] * 3), min_size=1, max_size=30)


@given(rows)
def test_figures_equal_brute_force(codes: list[tuple[int, int, int]]) -> None:
    q = quality(np.array(codes), (3, 3, 3))
    counts = Counter(codes)
    alone = sum(count == 1 for count in counts.values())
    assert q.icr_item == alone / len(codes)
    assert q.icr_sid == alone / len(counts)
    assert q.largest_bucket == max(counts.values())
    for level in range(1, 4):
        prefixes = Counter(code[:level] for code in codes)
        assert q.cur[level - 1] == pytest.approx(len(prefixes) / 3**level)
        values = list(prefixes.values())
        pairs = sum(abs(a - b) for a in values for b in values)
        gini = pairs / (2 * len(values) * sum(values))
        assert q.gini[level - 1] == pytest.approx(gini, abs=1e-12)


@given(rows)
def test_prefix_ids_number_distinct_rows_in_order(codes: list[tuple[int, int, int]]) -> None:
    ids = prefix_ids(np.array(codes))
    order = sorted(set(codes))
    assert ids.tolist() == [order.index(code) for code in codes]


def test_largest_buckets_are_fullest_first() -> None:
    buckets = largest_buckets(CODES.astype(np.int32), 2)
    assert [(sid, members.tolist()) for sid, members in buckets] == [
        ((0, 0), [0, 1]),
        ((0, 1), [2]),
    ]


def test_many_large_levels_do_not_overflow() -> None:
    codes = np.array([[65535] * 8, [65535] * 7 + [0]])
    q = quality(codes, (65536,) * 8)
    assert (q.num_sids, q.level_use[0], q.largest_bucket) == (2, 1 / 65536, 1)


def test_text_and_dict_hold_the_figures() -> None:
    q = quality(CODES, (4, 4), np.eye(4))
    assert "4 items on 3 SIDs" in q.as_text()
    assert "error" in q.as_text()
    assert json.loads(json.dumps(q.as_dict()))["icr_item"] == q.icr_item


def test_the_public_name_is_the_function_even_after_its_module_is_imported() -> None:
    import onesearch_fast.sid.quality  # noqa: F401

    assert osf.sid.quality is quality
    assert osf.sid.quality(CODES, (4, 4)).num_sids == 3


@pytest.mark.parametrize(
    ("codes", "embeddings", "message"),
    [
        ([[0, 4]], None, r"row 0 = \[0, 4\]"),
        ([[0, 0], [-1, 0]], None, r"row 1 = \[-1, 0\]"),
        ([[0, 0, 0]], None, r"\[1, 3\]"),
        ([0, 1], None, r"shape \[2\]"),
        (np.zeros((0, 2), int), None, "num_items >= 1"),
        ([[0, 0]], np.ones((2, 3)), "embeddings"),
    ],
)
def test_bad_values_are_refused(codes: object, embeddings: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        quality(codes, (4, 4), embeddings)  # type: ignore[arg-type]


def test_codes_must_be_integers() -> None:
    with pytest.raises(TypeError, match="integers, got float64"):
        quality([[0.0, 1.0]], (4, 4))
