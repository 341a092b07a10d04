"""The reference of `rms_norm`, in float64."""

from __future__ import annotations

import torch

from onesearch_fast import _C
from onesearch_fast.registry import Implementation


def rms_norm(x: torch.Tensor, weight: torch.Tensor, eps: float, out: torch.Tensor) -> None:
    """Writes the normed rows of `x` into `out`."""
    _C.check_rms_norm(x, weight, eps, out)
    rows = x.double()
    mean = rows.square().mean(-1, keepdim=True)
    out.copy_(rows / (mean + eps).sqrt() * weight)


IMPLEMENTATION = Implementation(
    backend="torch",
    device_types=("cpu",),
    dtypes=(torch.float32, torch.bfloat16, torch.float16),
    why_not=lambda: None,
    function=rms_norm,
)
