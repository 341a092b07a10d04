"""Norm and rotary positions of a layer's queries and keys, against the same in plain torch."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from onesearch_fast.ops import rotary
from onesearch_fast.registry import Tolerance
from onesearch_fast.testing import assert_close
from onesearch_fast.testing.cases.rotary import random_heads

# batch, token, head (queries and keys), head_dim
SHAPES = {"29m-w64": (1, 64, 12, 64), "29m-w256": (1, 256, 12, 64), "0.6b-w256": (1, 256, 24, 128)}
# torch rounds half-width numbers between norm and rotation.
TOLERANCES = {torch.float32: Tolerance(1e-4, 1e-4), torch.bfloat16: Tolerance(0.05, 0.1)}


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("shape", SHAPES)
def test_rotary(race: Callable[..., None], shape: str, dtype: torch.dtype) -> None:
    arguments = random_heads(dtype, *SHAPES[shape])
    x, rotation, weight, eps = arguments.values()
    cosine, sine = rotation.to(dtype).unsqueeze(2).chunk(2, dim=-1)
    cosine, sine = torch.cat((cosine, cosine), -1), torch.cat((-sine, sine), -1)
    out = torch.empty_like(x)

    def by_torch() -> torch.Tensor:
        normed = F.rms_norm(x, x.shape[-1:], None, eps) * weight
        return normed * cosine + normed.roll(x.shape[-1] // 2, -1) * sine

    def assert_near(ours: torch.Tensor, theirs: torch.Tensor) -> None:
        assert_close(theirs, ours, TOLERANCES[dtype])

    race(
        {"cpu": lambda: rotary(**arguments, out=out, backend="cpu"), "torch": by_torch}, assert_near
    )
