"""Refitting keeps what it may, and drift says when it is time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onesearch_fast.sid.codebooks import Codebooks
from onesearch_fast.sid.drift import measure_drift
from onesearch_fast.sid.levels import Level
from onesearch_fast.sid.matching import match_codes
from onesearch_fast.sid.refit import refit_codebooks

SIZES, OPQ = (16, 8, 6), (5, 5)


def clusters(num_rows: int, seed: int, shift: float = 0.0) -> np.ndarray:
    """Unit vectors around 20 centres that all move by `shift`."""
    rng = np.random.default_rng(0)
    centres, direction = rng.normal(size=(20, 12)), rng.normal(size=(20, 12))
    rng = np.random.default_rng(seed)
    x = (centres + shift * direction)[rng.integers(0, 20, num_rows)]
    x += 0.4 * rng.normal(size=x.shape)
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


X = clusters(900, 1)
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "balanced": {"balance_slack": 0.2},
    "by first code": {"balance_slack": 0.2, "balance_by_first_code": True},
    "prq": {"prq": True},
}


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("from_level", [1, 3, 4, 5])
def test_levels_before_stay_and_most_codes_after(name: str, from_level: int) -> None:
    book = Codebooks.fit(X, SIZES, OPQ, iterations=8, **OPTIONS[name])
    grown = np.concatenate([X, clusters(90, 2, shift=0.3)])
    slack = OPTIONS[name].get("balance_slack")
    result = refit_codebooks(book, grown, from_level, balance_slack=slack, iterations=8)
    new = result.codebooks
    assert new.level_sizes == book.level_sizes
    codes, before = new.encode(grown), book.encode(grown)
    np.testing.assert_array_equal(codes[:, : from_level - 1], before[:, : from_level - 1])
    for old_level, level in zip(book.levels[: from_level - 1], new.levels, strict=False):
        np.testing.assert_array_equal(level.centroids, old_level.centroids)
    same = np.logical_and.accumulate(codes == before, axis=1).mean(axis=0)
    np.testing.assert_allclose(result.kept, same)
    assert result.kept[0] > 0.85
    if slack is not None and name == "balanced":
        assert np.bincount(codes[:, 2]).max() <= np.ceil(1.2 * len(grown) / 6)


@pytest.mark.parametrize("part", ["prices", "mean"])
def test_what_is_kept_of_a_refit_belongs_to_one_book(part: str, tmp_path: Path) -> None:
    book = Codebooks.fit(X, SIZES, OPQ, iterations=4, balance_slack=0.2, prq=True)
    first, second, last, *opq = book.levels
    mean = book.mean
    if part == "mean":
        mean = np.ascontiguousarray(mean[::-1])
    else:
        last = replace(last, prices=np.zeros_like(last.prices))
    other = Codebooks((first, second, last), opq, True, mean)
    refit_codebooks(book, X, 4, iterations=4, state=tmp_path)
    resumed = refit_codebooks(other, X, 4, iterations=4, state=tmp_path).codebooks
    whole = refit_codebooks(other, X, 4, iterations=4).codebooks
    np.testing.assert_array_equal(resumed.levels[3].centroids, whole.levels[3].centroids)


def test_refitting_to_the_same_vectors_changes_little() -> None:
    book = Codebooks.fit(X, SIZES, OPQ, iterations=25)
    result = refit_codebooks(book, X, 1)
    assert result.kept[0] > 0.95
    scratch = Codebooks.fit(X, SIZES, OPQ, iterations=25, seed=7)
    anew = (scratch.encode(X)[:, 0] == book.encode(X)[:, 0]).mean()
    assert result.kept[0] > 3 * anew


def test_refitting_serves_moved_vectors_better() -> None:
    book = Codebooks.fit(X, SIZES, OPQ, iterations=10)
    moved = clusters(900, 3, shift=0.8)
    new = refit_codebooks(book, moved, 1).codebooks
    old_drift, new_drift = measure_drift(book, moved), measure_drift(new, moved)
    assert new_drift.levels[0].distortion < 0.9 * old_drift.levels[0].distortion


def test_drift_is_small_on_the_same_and_large_on_other_vectors() -> None:
    book = Codebooks.fit(X, SIZES, OPQ, iterations=10)
    own = measure_drift(book, [X[:400], X[400:]])
    assert own.num_vectors == 900
    for level in own.levels:
        assert level.distortion == pytest.approx(level.fitted_distortion, rel=1e-5)
        assert level.utilisation == level.fitted_utilisation
        assert level.moved == pytest.approx(0, abs=1e-6)
    other = measure_drift(book, clusters(900, 4, shift=2.0)).levels[0]
    assert other.distortion > 1.5 * other.fitted_distortion
    assert other.moved > 0.2
    assert "distortion" in own.as_text() and len(own.as_dict()["levels"]) == 5


@given(st.integers(0, 1000), st.integers(1, 12))
def test_a_renumbering_is_undone(seed: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    old = np.concatenate([np.arange(size), rng.integers(0, size, 50)]).astype(np.int32)
    shuffled = rng.permutation(size).astype(np.int32)
    np.testing.assert_array_equal(match_codes(shuffled[old], old, size), shuffled)


def test_bad_requests_are_refused() -> None:
    book = Codebooks.fit(X, (4,), (3,), iterations=2)
    balanced = Codebooks.fit(X, (4,), (3,), iterations=2, balance_slack=0.5)
    with pytest.raises(ValueError, match=r"from_level: expected a level in \[1, 2\], got 3"):
        refit_codebooks(book, X, 3)
    with pytest.raises(ValueError, match="balance_slack: expected the slack"):
        refit_codebooks(balanced, X, 1)
    with pytest.raises(ValueError, match="balance_slack: expected None"):
        refit_codebooks(book, X, 1, balance_slack=0.5)
    with pytest.raises(ValueError, match=r"shape \[n, 12\]"):
        refit_codebooks(book, X[:, :5], 1)
    with pytest.raises(ValueError, match="at least one row"):
        measure_drift(book, X[:0])
    with pytest.raises(ValueError, match="know their fit"):
        measure_drift(Codebooks([Level(X[:4])]), X)
