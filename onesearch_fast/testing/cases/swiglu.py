"""Inputs of `swiglu`, plain, degenerate and hostile, and how to judge a result."""

from __future__ import annotations

from functools import partial

import torch

from onesearch_fast.ops.swiglu import swiglu
from onesearch_fast.registry import REFERENCE, Tolerance
from onesearch_fast.testing.cases import INF, NAN, Arguments, Case, altered, plain, spread_rows
from onesearch_fast.testing.closeness import assert_close


def random_gates(dtype: torch.dtype, rows: int = 5, hidden: int = 48) -> Arguments:
    """Arguments with gates on both sides of zero."""
    generator = torch.Generator().manual_seed(rows + 100 * hidden)
    return {"x": (4 * torch.randn(rows, 2 * hidden, generator=generator)).to(dtype)}


_plain = partial(plain, random_gates)
_altered = partial(altered, random_gates)


def _poison(arguments: Arguments) -> None:
    x = arguments["x"]
    x[0, 3], x[1, 48 + 3] = NAN, NAN
    x[2, 0], x[3, 48] = INF, -INF


def _widen_gates(arguments: Arguments) -> None:
    """Gates whose exponentials overflow."""
    arguments["x"][:, :48].mul_(50)


CASES = (
    Case("plain", _plain()),
    *(Case(f"hidden-{size}", _plain(hidden=size)) for size in (1, 7, 16, 63, 64, 65, 1023, 1025)),
    Case("many_rows", _plain(rows=33, hidden=3072)),
    Case("no_rows", _plain(rows=0)),
    Case("no_columns", _plain(hidden=0)),
    Case("poisoned", _altered(_poison)),
    Case("wide_gates", _altered(_widen_gates)),
    Case("odd_strides", _altered(spread_rows("x"))),
)

# Of 256 beams, of 8 x 256, and of a prompt.
SERVED = tuple(
    Case(f"{rows}x{hidden}", _plain(rows=rows, hidden=hidden))
    for rows, hidden in ((256, 3072), (256, 6144), (2048, 6144), (5000, 6144))
)


def poisoned(arguments: Arguments) -> torch.Tensor:
    """Memory for the result in which nothing looks right, so that every entry must be written."""
    gate, _ = arguments["x"].chunk(2, dim=-1)
    return torch.full_like(gate.contiguous(), 1e4)


def check(arguments: Arguments, got: torch.Tensor, tolerance: Tolerance) -> None:
    """Asserts that `got` lies within `tolerance` of the reference."""
    assert_close(got, swiglu(**arguments, backend=REFERENCE), tolerance)
