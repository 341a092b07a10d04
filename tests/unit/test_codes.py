"""Names of code tokens and suggested level sizes."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onesearch_fast.sid.codes import LevelSizes, code_token_names, suggest_level_sizes


def test_names_of_the_default_sizes() -> None:
    names = code_token_names((4096, 1024, 512, 256, 256), 3)
    assert [len(level) for level in names] == [4096, 1024, 512, 256, 256]
    assert [level[0] for level in names] == ["<a_0>", "<b_0>", "<c_0>", "<d_0>", "<d_256>"]
    assert [level[-1] for level in names] == [
        "<a_4095>",
        "<b_1023>",
        "<c_511>",
        "<d_255>",
        "<d_511>",
    ]


def test_names_without_opq_and_with_unequal_opq() -> None:
    assert code_token_names((2, 1), 2) == [["<a_0>", "<a_1>"], ["<b_0>"]]
    assert code_token_names((1, 3, 2), 1)[2] == ["<b_3>", "<b_4>"]


@given(st.lists(st.integers(1, 40), min_size=1, max_size=8), st.data())
def test_names_are_distinct(sizes: list[int], data: st.DataObject) -> None:
    num_residual = data.draw(st.integers(0, len(sizes)))
    names = [name for level in code_token_names(sizes, num_residual) for name in level]
    assert len(set(names)) == sum(sizes)


@pytest.mark.parametrize(("sizes", "num_residual"), [((), 0), ((4, 0), 1), ((4, 4), 3), ((4,), -1)])
def test_bad_sizes_are_refused(sizes: tuple[int, ...], num_residual: int) -> None:
    with pytest.raises(ValueError, match="code_token_names"):
        code_token_names(sizes, num_residual)


@pytest.mark.parametrize(
    ("num_items", "expected"),
    [
        (1, ((1, 1, 1), (1, 1))),
        (200, ((8, 8, 8), (8, 8))),
        (10_000, ((512, 128, 64), (64, 64))),
        (8_000_000, ((4096, 1024, 512), (256, 256))),
    ],
)
def test_suggested_sizes(num_items: int, expected: LevelSizes) -> None:
    assert suggest_level_sizes(num_items) == expected
    assert suggest_level_sizes(num_items, opq=False) == (expected[0], ())


@given(st.integers(1, 10**9))
def test_suggested_sizes_never_outgrow_the_catalogue_nor_fall_below_a_smaller_one(n: int) -> None:
    small, large = suggest_level_sizes(n), suggest_level_sizes(2 * n)
    assert max(small.residual) <= n
    assert all(a <= b for a, b in zip(sum(small, ()), sum(large, ()), strict=True))
    if n >= 8:
        assert math.prod(sum(small, ())) >= n


def test_an_empty_catalogue_is_refused() -> None:
    with pytest.raises(ValueError, match="num_items"):
        suggest_level_sizes(0)
