"""Balanced codes: the capacity holds for the very function that encodes, whatever the vectors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from onesearch_fast.sid.balance import balance_centroids, capacity, raise_prices
from onesearch_fast.sid.codebooks import Codebooks
from onesearch_fast.sid.nearest import largest_group, nearest
from onesearch_fast.sid.price_ascent import anneal_prices, ascend_prices
from onesearch_fast.sid.residual_kmeans import KMeans
from onesearch_fast.sid.transport import Transport, gather


def tight_clusters(num_rows: int, seed: int) -> np.ndarray:
    """Unit vectors in clusters of very unequal sizes, which plain k-means leaves very uneven."""
    rng = np.random.default_rng(seed)
    cluster = np.minimum(rng.zipf(1.3, num_rows) - 1, 49)
    x = rng.normal(size=(50, 16))[cluster] + 0.3 * rng.normal(size=(num_rows, 16))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def balance(
    x: np.ndarray, start: np.ndarray, slack: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Centroids, and prices that hold for all rows."""
    centroids, prices = balance_centroids(x, start, slack, seed)
    return centroids, raise_prices(x, centroids, prices, capacity(x, len(start), slack))


def sizes_of(x: np.ndarray, centroids: np.ndarray, prices: np.ndarray | None) -> np.ndarray:
    return np.bincount(nearest(x, centroids, prices), minlength=len(centroids))


@pytest.mark.parametrize("slack", [0.02, 0.1, 0.5])
@pytest.mark.parametrize("seed", [0, 1])
def test_no_code_holds_more_than_its_capacity(slack: float, seed: int) -> None:
    x = tight_clusters(3000, seed)
    start = KMeans(seed, 10).fit(x, 24, "k")
    assert sizes_of(x, start, None).max() > 1.4 * capacity(x, 24, slack)
    centroids, prices = balance(x, start, slack, seed)
    assert sizes_of(x, centroids, prices).max() <= np.ceil((1 + slack) * 3000 / 24)
    assert (prices >= 0).all()
    assert prices.dtype == np.float64


def test_what_is_even_already_has_no_prices() -> None:
    x = np.repeat(np.eye(8, dtype=np.float32), 5, axis=0)
    centroids, prices = balance(x, np.eye(8, dtype=np.float32), 0.1, 0)
    assert not prices.any()
    np.testing.assert_allclose(centroids, np.eye(8), atol=1e-5)


def test_more_room_costs_less_distance() -> None:
    x = tight_clusters(3000, 2)
    start = KMeans(0, 10).fit(x, 24, "k")

    def error(slack: float) -> float:
        centroids, prices = balance(x, start, slack, 0)
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
    centroids, prices = balance(x, groups[rng.permutation(distinct)[:k]], room, seed)
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


def hard_to_part(kind: str, rng: np.random.Generator) -> np.ndarray:
    n, dim = int(rng.integers(20, 70)), int(rng.integers(3, 12))
    x = rng.normal(size=(n, dim)).astype(np.float32)
    if kind == "last bits":
        x[:] = x[0]
        x = (x.view(np.int32) + rng.integers(-3, 4, x.shape, np.int32)).view(np.float32)
    elif kind == "nearly equal":
        x = x[0] + np.float32(10.0 ** -rng.integers(3, 8)) * x
    elif kind == "one hot":
        x = np.eye(n, dtype=np.float32)
    elif kind == "signs":
        x = np.sign(x)
    elif kind == "lattice":
        x = rng.integers(0, 3, (n, 4)).astype(np.float32)
    elif kind == "pairs":
        x = np.repeat(x[: n // 2], 2, axis=0)
    elif kind == "few distinct":
        x = x[:15][np.minimum(rng.zipf(1.5, n) - 1, 14)]
    return x


HARD = ("last bits", "nearly equal", "one hot", "signs", "lattice", "pairs", "few distinct")


@pytest.mark.parametrize("kind", HARD)
@pytest.mark.parametrize("seed", range(15))
def test_only_groups_of_identical_vectors_are_refused(kind: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = hard_to_part(kind, rng)
    distinct = np.unique(x, axis=0)
    k = int(rng.integers(2, min(12, len(distinct)) + 1))
    largest = largest_group(x)
    enough = largest * k / len(x) + 1e-9
    for slack in (0.05, enough):
        try:
            centroids, prices = balance(x, rng.permutation(distinct)[:k], slack, seed)
        except ValueError as error:
            assert largest > 1 and slack < enough
            assert f"the largest of {largest} of {len(x)} vectors" in str(error)
            continue
        assert sizes_of(x, centroids, prices).max() <= capacity(x, k, slack)
        codes = nearest(x, centroids, prices)
        np.testing.assert_array_equal(
            codes[:5], [nearest(r[None], centroids, prices)[0] for r in x[:5]]
        )


def test_a_level_by_first_code_parts_residuals_that_are_nearly_equal() -> None:
    """A first code whose items have one residual but for the last bits, beside plain ones."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 8)).astype(np.float32)
    x[:140] = x[0] + np.float32(1e-6) * x[:140]
    book = Codebooks.fit(x, (2, 16), (), balance_slack=0.05, balance_by_first_code=True)
    codes = book.encode(x)
    for first in np.unique(codes[:, 0]):
        own = np.bincount(codes[codes[:, 0] == first, 1])
        assert own.max() <= np.ceil(1.05 * own.sum() / 16)


def crowded(num_rows: int, seed: int) -> np.ndarray:
    """Rows in a few tight clusters, each of which many codes must share."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(3, 8))[rng.integers(0, 3, num_rows)]
    return (x + 0.01 * rng.normal(size=x.shape)).astype(np.float32)


@pytest.mark.parametrize("seed", range(3))
def test_climbing_prices_leave_little_to_transport(seed: int) -> None:
    x, k = crowded(4000, seed), 40
    centroids = x[:k] + np.float32(0.001)
    limit = capacity(x, k, 0.02)

    def surplus(prices: np.ndarray) -> int:
        return int(np.maximum(sizes_of(x, centroids, prices) - limit, 0).sum())

    assert surplus(np.zeros(k)) > 1000
    prices = ascend_prices(x, centroids, np.zeros(k), limit)
    assert (prices >= 0).all()
    assert surplus(prices) < 40
    # A warm start does not lose what was gained.
    assert surplus(ascend_prices(x, centroids, prices, limit)) < 40


def test_climbing_finds_what_the_auction_goes_round_in_circles_for() -> None:
    x, k = crowded(4000, 5), 40
    centroids, prices = balance(x, x[:k], 0.02, 0)
    assert sizes_of(x, centroids, prices).max() <= capacity(x, k, 0.02)


def test_prices_stay_at_zero_where_there_is_room() -> None:
    x = tight_clusters(500, 0)
    assert not anneal_prices(x, x[:20], np.zeros(20), 500.0).any()


@given(st.integers(0, 10_000), st.integers(2, 7), st.floats(0, 0.5))
def test_transport_finds_the_cheapest_assignment(seed: int, k: int, slack: float) -> None:
    """As linear programming by `linear_sum_assignment`, with each code as often as it has room."""
    rng = np.random.default_rng(seed)
    costs = rng.random((int(rng.integers(k, 30)), k))
    limit = int(np.ceil((1 + slack) * len(costs) / k))
    transport = Transport(costs.__getitem__, costs.argmin(1).astype(np.int32), np.zeros(k))
    transport.limit_sizes(limit)
    _, place = linear_sum_assignment(np.repeat(costs, limit, axis=1))
    np.testing.assert_array_equal(transport.codes, place // limit)
    prices = transport.parting_prices()
    np.testing.assert_array_equal((costs + prices).argmin(1), transport.codes)


@given(st.integers(0, 10_000), st.integers(1, 30), st.integers(1, 8))
def test_a_gathered_group_has_one_of_its_codes(seed: int, num_groups: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    groups = np.concatenate([np.arange(num_groups), rng.integers(0, num_groups, 40)])
    codes = rng.integers(0, k, len(groups)).astype(np.int32)
    gathered = gather(codes, groups)
    for group in range(num_groups):
        own = gathered[groups == group]
        assert (own == own[0]).all() and own[0] in codes[groups == group]


def test_groups_that_cannot_be_packed_are_an_error() -> None:
    # Three groups of three into two codes of five.
    x = np.repeat(np.eye(3, dtype=np.float32), 3, axis=0)
    with pytest.raises(
        ValueError, match=r"balance_slack.*codes of 5.*allow more slack, 0.667 at most"
    ):
        balance(x, x[[0, 3]], 0.01, 0)


def test_groups_need_to_fit_among_the_items_of_their_first_code_only() -> None:
    # Residuals 1, -1 and 0, three of each: not into two codes of five; 1 and -1, and 0, alone are.
    x = np.repeat(np.array([[8, 1], [8, -1], [-8, 0]], np.float32), 3, axis=0)
    with pytest.raises(ValueError, match="groups of identical vectors"):
        Codebooks.fit(x, (2, 2), (), normalize_residuals=False, balance_slack=0.01)
    book = Codebooks.fit(
        x, (2, 2), (), normalize_residuals=False, balance_slack=0.01, balance_by_first_code=True
    )
    assert np.unique(book.encode(x)[:6, 1], return_counts=True)[1].tolist() == [3, 3]


@given(st.integers(0, 10_000), st.floats(0, 1e-4))
def test_prices_and_near_ties_do_not_depend_on_the_batch(seed: int, gap: float) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(9, 5)).astype(np.float32)
    table = rng.normal(size=(6, 5))
    table = np.concatenate([table, table + gap * rng.normal(size=table.shape)]).astype(np.float32)
    prices = np.tile(rng.random(6), 2)
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
