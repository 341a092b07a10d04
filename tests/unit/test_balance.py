"""Balanced codes: the capacity holds for the very function that encodes, whatever the vectors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onesearch_fast.sid.balance import balance_centroids, capacity
from onesearch_fast.sid.codebooks import Codebooks
from onesearch_fast.sid.nearest import nearest
from onesearch_fast.sid.residual_kmeans import KMeans


def tight_clusters(num_rows: int, seed: int) -> np.ndarray:
    """Unit vectors in clusters of very unequal sizes, which plain k-means leaves very uneven."""
    rng = np.random.default_rng(seed)
    cluster = np.minimum(rng.zipf(1.3, num_rows) - 1, 49)
    x = rng.normal(size=(50, 16))[cluster] + 0.3 * rng.normal(size=(num_rows, 16))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def sizes_of(x: np.ndarray, centroids: np.ndarray, prices: np.ndarray | None) -> np.ndarray:
    return np.bincount(nearest(x, centroids, prices), minlength=len(centroids))


@pytest.mark.parametrize("slack", [0.02, 0.1, 0.5])
@pytest.mark.parametrize("seed", [0, 1])
def test_no_code_holds_more_than_its_capacity(slack: float, seed: int) -> None:
    x = tight_clusters(3000, seed)
    start = KMeans(seed, 10).fit(x, 24, "k")
    assert sizes_of(x, start, None).max() > 1.4 * capacity(x, 24, slack)
    centroids, prices = balance_centroids(x, start, slack, seed)
    assert sizes_of(x, centroids, prices).max() <= np.ceil((1 + slack) * 3000 / 24)
    assert (prices >= 0).all()
    assert prices.dtype == np.float32


def test_what_is_even_already_has_no_prices() -> None:
    x = np.repeat(np.eye(8, dtype=np.float32), 5, axis=0)
    centroids, prices = balance_centroids(x, np.eye(8, dtype=np.float32), 0.1, 0)
    assert not prices.any()
    np.testing.assert_array_equal(centroids, np.eye(8))


def test_more_room_costs_less_distance() -> None:
    x = tight_clusters(3000, 2)
    start = KMeans(0, 10).fit(x, 24, "k")

    def error(slack: float) -> float:
        centroids, prices = balance_centroids(x, start, slack, 0)
        return float(np.square(x - centroids[nearest(x, centroids, prices)]).sum())

    assert error(2.0) < error(0.5) < error(0.05)


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(1, 6), st.floats(0, 1))
def test_identical_vectors_share_a_code_and_widen_its_capacity(
    seed: int, distinct: int, copies: int, slack: float
) -> None:
    rng = np.random.default_rng(seed)
    groups = rng.normal(size=(distinct, 3)).astype(np.float32)
    x = np.repeat(groups, copies, axis=0)
    k = int(rng.integers(1, distinct + 1))
    room = slack + 1.0  # Groups of equal size always fit into twice their share.
    centroids, prices = balance_centroids(x, groups[rng.permutation(distinct)[:k]], room, seed)
    assert sizes_of(x, centroids, prices).max() <= capacity(x, k, room)


def adversarial(kind: str, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(100, 500))
    x = rng.normal(size=(n, 8))
    if kind == "all equal":
        x[:] = x[0]
    elif kind == "one huge cluster":
        x[: 9 * n // 10] = x[0] + 1e-3 * rng.normal(size=(9 * n // 10, 8))
    elif kind == "half equal":
        x[: n // 2] = x[0]
    elif kind == "many duplicates":
        x = x[:60][np.minimum(rng.zipf(1.5, n) - 1, 59)]
    elif kind == "one line":
        x = np.outer(rng.normal(size=n), x[0])
    return x.astype(np.float32)


KINDS = ("all equal", "one huge cluster", "half equal", "many duplicates", "one line")


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10_000), slack=st.floats(0.05, 1))
def test_the_bound_holds_on_hostile_vectors(kind: str, seed: int, slack: float) -> None:
    """Or the error says so: groups of identical vectors may not fit together."""
    x = adversarial(kind, seed)
    sizes = (1, 1, 1) if kind == "all equal" else (3, 1, 5)
    normalize = kind != "one line"  # there, only a sign would be left
    try:
        book = Codebooks.fit(x, sizes, (), normalize, iterations=4, balance_slack=slack)
    except ValueError as error:
        assert kind == "many duplicates" and "allow more slack, 0.667 at most" in str(error)
        return
    *_, (rest, codes) = book.walk(x)
    assert np.bincount(codes).max() <= capacity(rest, sizes[-1], slack)
    np.testing.assert_array_equal(codes[:20], book.encode(x[:20])[:, -1])


def test_groups_that_cannot_be_packed_are_an_error() -> None:
    # Three groups of three into two codes of five.
    x = np.repeat(np.eye(3, dtype=np.float32), 3, axis=0)
    with pytest.raises(
        ValueError, match=r"balance_slack.*codes of 5.*allow more slack, 0.667 at most"
    ):
        balance_centroids(x, x[[0, 3]], 0.01, 0)


@given(st.integers(0, 10_000), st.floats(0, 1e-4))
def test_prices_and_near_ties_do_not_depend_on_the_batch(seed: int, gap: float) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(9, 5)).astype(np.float32)
    table = rng.normal(size=(6, 5))
    table = np.concatenate([table, table + gap * rng.normal(size=table.shape)]).astype(np.float32)
    prices = np.tile(rng.random(6), 2).astype(np.float32)
    codes = nearest(x, table, prices)
    np.testing.assert_array_equal(
        codes, np.concatenate([nearest(row[None], table, prices) for row in x])
    )
    costs = np.square(x[:, None, :].astype(np.float64) - table[None]).sum(2) + prices
    np.testing.assert_array_equal(codes, costs.argmin(1))


def test_codebooks_balance_their_last_residual_level(tmp_path: Path) -> None:
    x = tight_clusters(2000, 3)
    plain = Codebooks.fit(x, (8, 4, 16), (4, 4), iterations=5)
    book = Codebooks.fit(x, (8, 4, 16), (4, 4), iterations=5, balance_slack=0.1)
    assert plain.levels[2].prices is None
    codes = book.encode(x)
    np.testing.assert_array_equal(codes[:, :2], plain.encode(x)[:, :2])
    assert np.bincount(codes[:, 2]).max() <= np.ceil(1.1 * 2000 / 16)
    assert np.bincount(plain.encode(x)[:, 2]).max() > np.ceil(1.1 * 2000 / 16)

    book.save(tmp_path / "book")
    loaded = Codebooks.load(tmp_path / "book")
    np.testing.assert_array_equal(loaded.levels[2].prices, book.levels[2].prices)
    np.testing.assert_array_equal(loaded.encode(x), codes)
    np.testing.assert_array_equal(
        np.concatenate([book.encode(row[None]) for row in x[:50]]), codes[:50]
    )


@pytest.mark.parametrize("slack", [-0.1, 0.0, float("nan"), float("inf")])
def test_a_slack_that_is_no_share_is_refused(slack: float) -> None:
    with pytest.raises(ValueError, match="balance_slack"):
        Codebooks.fit(np.eye(4), (2,), (), balance_slack=slack)
