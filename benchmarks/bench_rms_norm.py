"""Norm of rows as layers need it, against `torch.nn.functional.rms_norm`."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from onesearch_fast.ops import rms_norm
from onesearch_fast.registry import Tolerance
from onesearch_fast.testing import assert_close
from onesearch_fast.testing.cases.rms_norm import random_rows

SHAPES = {"29m-w64": (64, 512), "29m-w256": (256, 512), "0.6b-w256": (256, 1024)}
# torch rounds half-width numbers before it multiplies by the weight.
TOLERANCES = {torch.float32: Tolerance(1e-5, 1e-5), torch.bfloat16: Tolerance(0.02, 0.02)}


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("shape", SHAPES)
def test_rms_norm(race: Callable[..., None], shape: str, dtype: torch.dtype) -> None:
    rows, hidden = SHAPES[shape]
    generator = torch.Generator().manual_seed(0)
    arguments = random_rows(dtype, hidden=hidden)
    arguments["x"] = torch.randn(rows, hidden, generator=generator).to(dtype)
    x, weight, eps = arguments.values()
    out = torch.empty_like(x)
    rivals = {
        "cpu": lambda: rms_norm(x, weight, eps, out=out, backend="cpu"),
        "torch": lambda: F.rms_norm(x, (hidden,), weight, eps),
    }

    def assert_near(ours: torch.Tensor, theirs: torch.Tensor) -> None:
        assert_close(theirs, ours, TOLERANCES[dtype])

    race(rivals, assert_near)
