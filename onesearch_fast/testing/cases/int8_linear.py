"""Inputs of `int8_linear`, plain, degenerate and hostile, and how to judge a result."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from onesearch_fast.ops.int8_linear import ACTIVATIONS, int8_linear, pack_int8_weight
from onesearch_fast.registry import REFERENCE, Tolerance
from onesearch_fast.testing.cases import INF, NAN, Arguments, Case, altered, plain, spread_rows
from onesearch_fast.testing.closeness import assert_close


def random_product(
    dtype: torch.dtype,
    rows: int = 7,
    inputs: int = 36,
    outputs: int = 48,
    other: str | None = None,
    **rest: Any,
) -> Arguments:
    """Arguments with rows of different magnitude; `other` is "added" or "factor" or neither."""
    generator = torch.Generator().manual_seed(rows + 100 * inputs)

    def normal(*sizes: int) -> torch.Tensor:
        return torch.randn(*sizes, generator=generator)

    x = normal(rows, inputs) * 2.0 ** (torch.arange(rows)[:, None] % 4)
    packed, scale = pack_int8_weight(normal(outputs, inputs) / max(1, inputs) ** 0.5)
    arguments = {"x": x.to(dtype), "weight": packed, "weight_scale": scale, **rest}
    arguments["bias"] = normal(outputs).to(dtype)
    if other is not None:
        arguments[other] = normal(rows, outputs).to(dtype)
    return arguments


_plain = partial(plain, random_product)
_altered = partial(altered, random_product)


def _drop_bias(arguments: Arguments) -> None:
    arguments["bias"] = None


def _poison(arguments: Arguments) -> None:
    arguments["x"][1, 3] = NAN
    arguments["x"][2, 0] = -INF
    arguments["x"][4].zero_()
    arguments["bias"][5] = 0.0


def _extremes(arguments: Arguments) -> None:
    """Every product as large as it can be: sums must not saturate."""
    arguments["x"].fill_(3.0)
    arguments["x"][1].neg_()
    arguments["weight"].fill_(255)


CASES = (
    Case("plain", _plain()),
    *(Case(f"rows-{rows}", _plain(rows=rows)) for rows in (0, 1, 2, 5, 6, 13, 101)),
    *(Case(f"in-{size}", _plain(inputs=size)) for size in (4, 16, 64, 772)),
    *(Case(f"out-{size}", _plain(outputs=size)) for size in (16, 32, 64, 80, 144)),
    *(Case(name, _plain(activation=name)) for name in ACTIVATIONS[1:]),
    Case("added", _plain(other="added")),
    Case("factor", _plain(other="factor", activation="silu")),
    Case("no_bias", _altered(_drop_bias)),
    Case("poisoned", _altered(_poison)),
    Case("extremes", _altered(_extremes, inputs=4096)),
    Case("odd_strides", _altered(spread_rows("x", "added"), other="added")),
)


def poisoned(arguments: Arguments) -> torch.Tensor:
    """Memory for the result in which nothing looks right, so that every entry must be written."""
    x, scale = arguments["x"], arguments["weight_scale"]
    return torch.full((len(x), len(scale)), 1e4, dtype=x.dtype)


def check(arguments: Arguments, got: torch.Tensor, tolerance: Tolerance) -> None:
    """Asserts that `got` lies within `tolerance` of the reference."""
    want = int8_linear(**arguments, backend=REFERENCE)
    # Sums of large terms that nearly cancel are only as exact as their terms.
    largest = float(want.float().nan_to_num(0, 0, 0).abs().amax()) if want.numel() else 0.0
    near = Tolerance(tolerance.relative, tolerance.absolute * max(1.0, largest))
    assert_close(got, want, near)
