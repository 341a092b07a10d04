"""Norm, rotary positions and the writing of keys and values, against the same in plain torch."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from onesearch_fast.ops import QueryKeyValue, rotary
from onesearch_fast.registry import Tolerance
from onesearch_fast.testing import assert_close
from onesearch_fast.testing.cases.rotary import random_heads

# batch, token, head, kv_head, head_dim
SHAPES = {
    "29m-w64": (1, 64, 8, 4, 64),
    "29m-w256": (1, 256, 8, 4, 64),
    "0.6b-w256": (1, 256, 16, 8, 128),
}
# torch rounds half-width numbers between norm and rotation.
TOLERANCES = {torch.float32: Tolerance(1e-4, 1e-4), torch.bfloat16: Tolerance(0.05, 0.1)}


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("shape", SHAPES)
def test_rotary(race: Callable[..., None], shape: str, dtype: torch.dtype) -> None:
    arguments = random_heads(dtype, *SHAPES[shape])
    x, rotation, weight, eps, kv_heads = arguments.values()
    cosine, sine = rotation.to(dtype).unsqueeze(2).chunk(2, dim=-1)
    cosine, sine = torch.cat((cosine, cosine), -1), torch.cat((-sine, sine), -1)
    ours, theirs = (QueryKeyValue.like(x, kv_heads) for _ in range(2))
    numbers = [x.shape[2] - 2 * kv_heads, kv_heads]

    def by_torch() -> QueryKeyValue:
        rotated, values = x.split([sum(numbers), kv_heads], dim=2)
        normed = F.rms_norm(rotated, x.shape[-1:], None, eps) * weight
        turned = normed * cosine + normed.roll(x.shape[-1] // 2, -1) * sine
        for out, heads in zip(theirs, (*turned.split(numbers, dim=2), values), strict=True):
            out.copy_(heads)
        return theirs

    def assert_near(one: QueryKeyValue, other: QueryKeyValue) -> None:
        for mine, their in zip(one, other, strict=True):
            assert_close(their, mine, TOLERANCES[dtype])

    rivals = {
        "cpu": lambda: rotary(**arguments, out=ours, backend="cpu"),
        "torch": by_torch,
    }
    race(rivals, assert_near)
