"""Inputs of `log_sum_exp`, plain, degenerate and hostile, and how to judge a result."""

from __future__ import annotations

from functools import partial

import torch

from onesearch_fast.ops.log_sum_exp import log_sum_exp
from onesearch_fast.registry import REFERENCE, Tolerance
from onesearch_fast.testing.cases import INF, NAN, Arguments, Case, altered, plain, spread_rows
from onesearch_fast.testing.closeness import assert_close


def random_logits(dtype: torch.dtype, rows: int = 6, columns: int = 300) -> Arguments:
    """Rows of different spread and level."""
    generator = torch.Generator().manual_seed(rows + 100 * columns)
    spread = 1.0 + torch.arange(rows)[:, None]
    x = spread * torch.randn(rows, columns, generator=generator) - 4 * spread
    return {"x": x.to(dtype)}


_plain = partial(plain, random_logits)
_altered = partial(altered, random_logits)


def _poison(arguments: Arguments) -> None:
    x = arguments["x"]
    x[0, 7] = NAN
    x[1, 299] = INF
    x[2, 3], x[2, 200] = INF, NAN
    x[3] = -INF
    x[4, 1:] = -INF


def _enlarge(arguments: Arguments) -> None:
    """Exponentials of these overflow, unless the maximum is taken off first."""
    arguments["x"].mul_(500)


def _tie(arguments: Arguments) -> None:
    arguments["x"].fill_(-3.0)


CASES = (
    Case("plain", _plain()),
    *(Case(f"columns-{size}", _plain(columns=size)) for size in (1, 7, 16, 63, 64, 65, 4099)),
    Case("many_rows", _plain(rows=100, columns=2048)),
    Case("no_rows", _plain(rows=0)),
    Case("no_columns", _plain(columns=0)),
    Case("poisoned", _altered(_poison)),
    Case("large", _altered(_enlarge)),
    Case("ties", _altered(_tie)),
    Case("odd_strides", _altered(spread_rows("x"))),
)


# Logits of a level, and a part of a vocabulary.
SERVED = tuple(
    Case(f"{rows}x{columns}", _plain(rows=rows, columns=columns))
    for rows, columns in ((256, 8192), (2048, 8192), (512, 32768))
)


def poisoned(arguments: Arguments) -> torch.Tensor:
    """Memory for the result in which nothing looks right, so that every entry must be written."""
    return torch.full((len(arguments["x"]),), 1e4)


def check(arguments: Arguments, got: torch.Tensor, tolerance: Tolerance) -> None:
    """Asserts that `got` lies within `tolerance` of the reference."""
    assert_close(got, log_sum_exp(**arguments, backend=REFERENCE), tolerance)
