"""Inputs of `add_norm`, plain, degenerate and hostile, and how to judge a result."""

from __future__ import annotations

from functools import partial

import torch

from onesearch_fast.ops.add_norm import AddNormResult, add_norm
from onesearch_fast.registry import REFERENCE, Tolerance
from onesearch_fast.testing.cases import (
    INF,
    NAN,
    Arguments,
    Build,
    Case,
    altered,
    plain,
    spread_rows,
)
from onesearch_fast.testing.closeness import assert_close


def random_sum(
    dtype: torch.dtype, rows: int = 5, hidden: int = 48, has_bias: bool = True
) -> Arguments:
    """Arguments with rows of different magnitude and mean."""
    generator = torch.Generator().manual_seed(rows + 100 * hidden)
    x, residual = torch.randn(2, rows, hidden, generator=generator)
    size = 2.0 ** torch.arange(rows)[:, None] / 8
    weight, bias = torch.randn(2, hidden, generator=generator) / 4
    return {
        "x": (x * size).to(dtype),
        "residual": ((residual + 1) * size).to(dtype),
        "weight": (1 + weight).to(dtype),
        "bias": bias.to(dtype) if has_bias else None,
        "eps": 1e-5,
    }


_plain = partial(plain, random_sum)
_altered = partial(altered, random_sum)


def _poison(arguments: Arguments) -> None:
    arguments["x"][1, 3] = NAN
    arguments["residual"][2, 0] = -INF
    arguments["x"][3, 5], arguments["residual"][3, 5] = INF, -INF
    arguments["weight"][7] = 0.0


def _cancel(arguments: Arguments) -> None:
    arguments["residual"] = -arguments["x"]


def _even(arguments: Arguments) -> None:
    """Rows of one number, exact in any order of sums, that a layer norm takes off."""
    arguments["x"].fill_(1.5)
    arguments["residual"].fill_(2.0)


_SIZES = (1, 7, 16, 63, 64, 65, 512, 1000)

CASES = (
    Case("plain", _plain()),
    *(Case(f"hidden-{size}", _plain(hidden=size, has_bias=size % 2 == 0)) for size in _SIZES),
    Case("many_rows", _plain(rows=17, hidden=4096)),
    Case("no_rows", _plain(rows=0)),
    Case("poisoned", _altered(_poison)),
    Case("cancelled", _altered(_cancel)),
    Case("even", _altered(_even)),
    Case("odd_strides", _altered(spread_rows("x", "residual"))),
    Case("rms", _plain(has_bias=False)),
    Case("rms-many_rows", _plain(rows=17, hidden=2048, has_bias=False)),
    Case("rms-poisoned", _altered(_poison, has_bias=False)),
    Case("rms-cancelled", _altered(_cancel, has_bias=False)),
)


def _hidden_states(rows: int, hidden: int, has_bias: bool) -> Build:
    def build(dtype: torch.dtype) -> Arguments:
        generator = torch.Generator().manual_seed(rows)
        x, residual = torch.randn(2, rows, hidden, generator=generator).to(dtype)
        return random_sum(dtype, 1, hidden, has_bias) | {"x": x, "residual": residual}

    return build


# Of 256 beams, of 8 x 256, of a prompt; with a bias, of BART.
SERVED = tuple(
    Case(f"{rows}x{hidden}", _hidden_states(rows, hidden, has_bias=hidden == 768))
    for rows, hidden in ((256, 1024), (256, 2048), (2048, 2048), (5000, 2048), (512, 768))
)


def poisoned(arguments: Arguments) -> AddNormResult:
    """Memory for the result in which nothing looks right, so that every entry must be written."""
    x = arguments["x"].contiguous()
    return AddNormResult(torch.full_like(x, 1e4), torch.full_like(x, 1e4))


def check(arguments: Arguments, got: AddNormResult, tolerance: Tolerance) -> None:
    """Asserts that `got` lies within `tolerance` of the reference."""
    wanted = add_norm(**arguments, backend=REFERENCE)
    assert_close(got.sum, wanted.sum, tolerance, "sum")
    assert_close(got.normed, wanted.normed, tolerance, "normed")
