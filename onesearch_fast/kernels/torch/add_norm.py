"""The reference of `add_norm`: the sum as torch rounds it, its norm in float64."""

from __future__ import annotations

import torch

from onesearch_fast import _C
from onesearch_fast.registry import Implementation


def add_norm(
    x: torch.Tensor,
    residual: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    eps: float,
    sum: torch.Tensor,
    normed: torch.Tensor,
) -> None:
    """Writes `x` + `residual` into `sum`, and its normed rows into `normed`."""
    _C.check_add_norm(x, residual, weight, bias, eps, sum, normed)
    torch.add(x, residual, out=sum)
    rows = sum.double()
    if bias is not None:
        rows = rows - rows.mean(-1, keepdim=True)
    scaled = rows / (rows.square().mean(-1, keepdim=True) + eps).sqrt() * weight
    normed.copy_(scaled if bias is None else scaled + bias)


IMPLEMENTATION = Implementation(
    backend="torch",
    device_types=("cpu",),
    dtypes=(torch.float32, torch.bfloat16, torch.float16),
    why_not=lambda: None,
    function=add_norm,
)
