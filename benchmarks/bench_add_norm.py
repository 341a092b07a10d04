"""Residual sum and norm as layers need them, against the two in plain torch."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from onesearch_fast.ops import AddNormResult, add_norm
from onesearch_fast.registry import Tolerance
from onesearch_fast.testing import assert_close
from onesearch_fast.testing.cases.add_norm import random_sum

SHAPES = {"29m-w256": (256, 512), "bart-w256": (256, 768), "0.6b-w256": (256, 1024)}
# torch rounds half-width numbers before it multiplies by the weight.
TOLERANCES = {torch.float32: Tolerance(1e-5, 1e-5), torch.bfloat16: Tolerance(0.02, 0.02)}


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("shape", SHAPES)
def test_add_norm(race: Callable[..., None], shape: str, dtype: torch.dtype) -> None:
    rows, hidden = SHAPES[shape]
    generator = torch.Generator().manual_seed(0)
    arguments = random_sum(dtype, hidden=hidden, has_bias=shape.startswith("bart"))
    for name in ("x", "residual"):
        arguments[name] = torch.randn(rows, hidden, generator=generator).to(dtype)
    x, residual, weight, bias, eps = arguments.values()
    out = AddNormResult(torch.empty_like(x), torch.empty_like(x))

    def by_torch() -> AddNormResult:
        total = x + residual
        if bias is None:
            return AddNormResult(total, F.rms_norm(total, (hidden,), weight, eps))
        return AddNormResult(total, F.layer_norm(total, (hidden,), weight, bias, eps))

    def assert_near(ours: AddNormResult, theirs: AddNormResult) -> None:
        for mine, other in zip(ours, theirs, strict=True):
            assert_close(other, mine, TOLERANCES[dtype])

    race(
        {"cpu": lambda: add_norm(**arguments, out=out, backend="cpu"), "torch": by_torch},
        assert_near,
    )
