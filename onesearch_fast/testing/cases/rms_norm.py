"""Inputs of `rms_norm`, plain, degenerate and hostile, and how to judge a result."""

from __future__ import annotations

from functools import partial

import torch

from onesearch_fast.ops.rms_norm import rms_norm
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


def random_rows(dtype: torch.dtype, rows: int = 5, hidden: int = 48) -> Arguments:
    """Arguments with rows of different magnitude."""
    generator = torch.Generator().manual_seed(rows + 100 * hidden)
    x = torch.randn(rows, hidden, generator=generator) * 2.0 ** torch.arange(rows)[:, None] / 8
    weight = 1 + torch.randn(hidden, generator=generator) / 4
    return {"x": x.to(dtype), "weight": weight.to(dtype), "eps": 1e-5}


_plain = partial(plain, random_rows)
_altered = partial(altered, random_rows)


def _poison(arguments: Arguments) -> None:
    arguments["x"][1, 3] = NAN
    arguments["x"][2, 0] = -INF
    arguments["weight"][7] = 0.0


def _zeros(arguments: Arguments) -> None:
    arguments["x"].zero_()


def _zeros_without_eps(arguments: Arguments) -> None:
    arguments["x"][0].zero_()
    arguments["eps"] = 0.0


def _tiny(arguments: Arguments) -> None:
    """Far below eps, which then decides the scale."""
    arguments["x"].mul_(2.0**-12)


CASES = (
    Case("plain", _plain()),
    *(Case(f"hidden-{size}", _plain(hidden=size)) for size in (1, 7, 16, 63, 64, 65, 512, 1000)),
    Case("many_rows", _plain(rows=17, hidden=4096)),
    Case("no_rows", _plain(rows=0)),
    Case("poisoned", _altered(_poison)),
    Case("zeros", _altered(_zeros)),
    Case("zeros_without_eps", _altered(_zeros_without_eps)),
    Case("tiny", _altered(_tiny)),
    Case("odd_strides", _altered(spread_rows("x"))),
)


def _hidden_states(rows: int, hidden: int) -> Build:
    def build(dtype: torch.dtype) -> Arguments:
        generator = torch.Generator().manual_seed(rows)
        x = torch.randn(rows, hidden, generator=generator).to(dtype)
        return random_rows(dtype, hidden=hidden) | {"x": x}

    return build


# Of 256 beams, of 8 x 256, and of a prompt.
SERVED = tuple(
    Case(f"{rows}x{hidden}", _hidden_states(rows, hidden))
    for rows, hidden in ((256, 1024), (256, 2048), (2048, 2048), (5000, 2048))
)


def poisoned(arguments: Arguments) -> torch.Tensor:
    """Memory for the result in which nothing looks right, so that every entry must be written."""
    return torch.full_like(arguments["x"].contiguous(), 1e4)


def check(arguments: Arguments, got: torch.Tensor, tolerance: Tolerance) -> None:
    """Asserts that `got` lies within `tolerance` of the reference."""
    assert_close(got, rms_norm(**arguments, backend=REFERENCE), tolerance)
