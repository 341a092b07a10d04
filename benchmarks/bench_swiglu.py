"""The gated activation of a feed-forward layer, against the same in plain torch."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from onesearch_fast.ops import swiglu
from onesearch_fast.registry import Tolerance
from onesearch_fast.testing import assert_close
from onesearch_fast.testing.cases.swiglu import random_gates

SHAPES = {"29m-w256": (256, 1408), "0.6b-w256": (256, 3072)}
# torch rounds half-width numbers between the activation and the product.
TOLERANCES = {torch.float32: Tolerance(1e-5, 1e-5), torch.bfloat16: Tolerance(0.02, 1e-3)}


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("shape", SHAPES)
def test_swiglu(race: Callable[..., None], shape: str, dtype: torch.dtype) -> None:
    x = random_gates(dtype, *SHAPES[shape])["x"]
    gate, up = x.chunk(2, dim=-1)
    out = torch.empty_like(gate, memory_format=torch.contiguous_format)

    def assert_near(ours: torch.Tensor, theirs: torch.Tensor) -> None:
        assert_close(theirs, ours, TOLERANCES[dtype])

    race(
        {"cpu": lambda: swiglu(x, out=out, backend="cpu"), "torch": lambda: F.silu(gate) * up},
        assert_near,
    )
