from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onesearch_fast.evaluate.metrics import ranking_metrics, rows_with_duplicates


def test_one_target_by_hand():
    ranked = np.array([[7, 3, 5], [1, 2, 4], [0, -1, -1]])
    values = ranking_metrics(ranked, np.array([3, 9, 0]), ks=(1, 2, 3))
    assert values["hr@1"].tolist() == [0, 0, 1]
    assert values["hr@2"].tolist() == [1, 0, 1]
    assert values["mrr@3"].tolist() == [0.5, 0, 1]
    np.testing.assert_allclose(values["ndcg@3"], [1 / math.log2(3), 0, 1])
    assert values["ndcg@1"].tolist() == [0, 0, 1]
    assert values["recall@3"].tolist() == [1, 0, 1]


def test_several_targets_by_hand():
    ranked = np.array([[7, 3, 5, 8]])
    values = ranking_metrics(ranked, np.array([[3, 8, 9]]), ks=(1, 2, 4))
    assert values["hr@2"] == [1.0]
    assert values["mrr@4"] == [0.5]
    np.testing.assert_allclose(values["recall@4"], [2 / 3])
    np.testing.assert_allclose(values["recall@2"], [1 / 3])
    ideal = 1 + 1 / math.log2(3) + 1 / math.log2(4)
    np.testing.assert_allclose(values["ndcg@4"], [(1 / math.log2(3) + 1 / math.log2(5)) / ideal])
    np.testing.assert_allclose(values["ndcg@2"], [(1 / math.log2(3)) / (1 + 1 / math.log2(3))])


def test_padding_is_never_a_hit():
    values = ranking_metrics(np.array([[-1, -1]]), np.array([[4, -1]]), ks=(2,))
    assert values["hr@2"] == [0.0]
    assert values["recall@2"] == [0.0]


@st.composite
def tables(draw):
    num_items = draw(st.integers(3, 12))
    width = draw(st.integers(1, num_items))
    rows = draw(st.lists(st.permutations(range(num_items)), min_size=1, max_size=4))
    ranked = [row[:width] for row in rows]
    targets = [
        draw(st.lists(st.integers(0, num_items - 1), min_size=1, max_size=4, unique=True))
        for _ in rows
    ]
    return ranked, targets, draw(st.integers(1, width))


@given(tables())
def test_equals_the_definition(case):
    ranked, targets, k = case
    padded = np.array([row + [-1] * (4 - len(row)) for row in targets])
    values = ranking_metrics(np.array(ranked), padded, ks=(k,))
    for index, (row, wanted) in enumerate(zip(ranked, targets, strict=True)):
        ranks = sorted(row.index(item) + 1 for item in wanted if item in row[:k])
        assert values[f"hr@{k}"][index] == bool(ranks)
        assert values[f"mrr@{k}"][index] == (1 / ranks[0] if ranks else 0)
        assert values[f"recall@{k}"][index] == pytest.approx(len(ranks) / len(wanted))
        gain = sum(1 / math.log2(1 + rank) for rank in ranks)
        best = sum(1 / math.log2(1 + rank) for rank in range(1, min(k, len(wanted)) + 1))
        assert values[f"ndcg@{k}"][index] == pytest.approx(gain / best)


def test_rows_with_duplicates_ignores_padding():
    rows = np.array([[1, 2, -1, -1], [2, 0, 1, 2]])
    assert rows_with_duplicates(rows).tolist() == [False, True]


@pytest.mark.parametrize(
    ("ranked", "targets", "ks", "message"),
    [
        ([[1, 2]], [1], (3,), "at least 3 columns"),
        ([[1, 2]], [1], (0,), "distinct integers >= 1"),
        ([[1, 2]], [1], (1, 1), "distinct integers >= 1"),
        ([[1, 2]], [1], (), "distinct integers >= 1"),
        ([[1, 1]], [1], (1,), "no row twice"),
        ([[1, 2]], [[1, 1]], (1,), "targets: expected no row twice"),
        ([[1, 2]], [-1], (1,), "none in case 0"),
        ([[1, 2]], [1, 2], (1,), "1 rows as in ranked"),
        ([1, 2], [1], (1,), "two axes"),
        ([[1.0, 2.0]], [1], (1,), "integers"),
    ],
)
def test_bad_input(ranked, targets, ks, message):
    with pytest.raises(ValueError, match=message):
        ranking_metrics(np.array(ranked), np.array(targets), ks)
