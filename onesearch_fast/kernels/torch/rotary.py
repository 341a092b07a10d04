"""The reference of `rotary`, in float64."""

from __future__ import annotations

import torch

from onesearch_fast import _C
from onesearch_fast.registry import Implementation


def rotary(
    x: torch.Tensor,
    rotation: torch.Tensor,
    norm_weight: torch.Tensor | None,
    eps: float,
    out: torch.Tensor,
) -> None:
    """Writes the rotated heads of `x` into `out`."""
    _C.check_rotary(x, rotation, norm_weight, eps, out)
    heads = x.double()
    if norm_weight is not None:
        mean = heads.square().mean(-1, keepdim=True)
        heads = heads / (mean + eps).sqrt() * norm_weight
    first, second = heads.chunk(2, dim=-1)
    cosine, sine = rotation.double().unsqueeze(2).chunk(2, dim=-1)
    turned = (first * cosine - second * sine, second * cosine + first * sine)
    out.copy_(torch.cat(turned, dim=-1))


IMPLEMENTATION = Implementation(
    backend="torch",
    device_types=("cpu",),
    dtypes=(torch.float32, torch.bfloat16, torch.float16),
    why_not=lambda: None,
    function=rotary,
)
