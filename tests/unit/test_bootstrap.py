from __future__ import annotations

import numpy as np
import pytest

from onesearch_fast.evaluate.bootstrap import (
    paired_difference,
    percentile_intervals,
    resampled_means,
)


def test_equal_seeds_give_equal_resamples_and_blocks_do_not_matter(monkeypatch):
    values = np.random.default_rng(1).random((40, 3))
    first = resampled_means(values, num_resamples=50, seed=7)
    monkeypatch.setattr("onesearch_fast.evaluate.bootstrap._BLOCK_CELLS", 1)
    np.testing.assert_allclose(resampled_means(values, num_resamples=50, seed=7), first)
    assert not np.allclose(resampled_means(values, num_resamples=50, seed=8), first)


def test_spread_is_that_of_the_mean():
    values = np.random.default_rng(2).normal(3.0, 2.0, size=(400, 1))
    means = resampled_means(values, num_resamples=4000)
    assert means.mean() == pytest.approx(values.mean(), abs=0.02)
    assert means.std() == pytest.approx(values.std() / 20, rel=0.05)


def test_users_are_drawn_whole():
    # Two users; one has three cases. A resample holds either user twice, or both once.
    values = np.array([[0.0], [1.0], [1.0], [1.0]])
    means = resampled_means(values, np.array([5, 9, 9, 9]), num_resamples=200)
    assert set(np.round(means.ravel(), 6)) == {0.0, 0.75, 1.0}


def test_coverage_of_the_95_percent_interval():
    generator = np.random.default_rng(3)
    covered = 0
    for trial in range(300):
        values = (generator.random((120, 1)) < 0.3).astype(float)
        means = resampled_means(values, num_resamples=400, seed=trial)
        _, low, high = percentile_intervals(values, means)[0]
        covered += low <= 0.3 <= high
    assert 0.91 <= covered / 300 <= 0.985


def test_pairing_removes_what_two_systems_share():
    generator = np.random.default_rng(4)
    shared = generator.normal(size=(300, 1))
    better = shared + 0.1 + generator.normal(scale=0.01, size=(300, 1))
    value, low, high = paired_difference(better, shared)[0]
    assert value == pytest.approx(0.1, abs=0.01)
    assert 0.09 < low < value < high < 0.11
    alone = percentile_intervals(better, resampled_means(better))[0]
    assert alone[2] - alone[1] > 10 * (high - low)


def test_a_system_equals_itself():
    values = np.random.default_rng(5).random((30, 2))
    assert paired_difference(values, values).tolist() == [[0, 0, 0], [0, 0, 0]]


@pytest.mark.parametrize(
    ("values", "users", "resamples", "message"),
    [
        (np.zeros((0, 1)), None, 10, "num_cases >= 1"),
        (np.array([[np.nan]]), None, 10, "finite"),
        (np.zeros((2, 1)), np.array([1]), 10, "one label for each of 2 cases"),
        (np.zeros((2, 1)), None, 0, "num_resamples"),
    ],
)
def test_bad_input(values, users, resamples, message):
    with pytest.raises(ValueError, match=message):
        resampled_means(values, users, resamples)


def test_bad_confidence_and_shapes():
    values = np.zeros((2, 1))
    with pytest.raises(ValueError, match="confidence"):
        percentile_intervals(values, values, confidence=1.0)
    with pytest.raises(ValueError, match="second"):
        paired_difference(values, np.zeros((2, 2)))
