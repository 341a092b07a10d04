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
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
) -> None:
    """Writes the rotated heads of queries and keys, and those of values, to their places."""
    _C.check_rotary(x, rotation, norm_weight, eps, query, key, value)
    numbers = [query.shape[2], key.shape[2]]
    rotated, values = torch.split(x.double(), [sum(numbers), value.shape[2]], dim=2)
    if norm_weight is not None:
        mean = rotated.square().mean(-1, keepdim=True)
        rotated = rotated / (mean + eps).sqrt() * norm_weight
    first, second = rotated.chunk(2, dim=-1)
    cosine, sine = rotation.double().unsqueeze(2).chunk(2, dim=-1)
    turned = torch.cat((first * cosine - second * sine, second * cosine + first * sine), dim=-1)
    for out, heads in zip(
        (query, key, value), (*torch.split(turned, numbers, dim=2), values), strict=True
    ):
        out.copy_(heads)


IMPLEMENTATION = Implementation(
    backend="torch",
    device_types=("cpu",),
    dtypes=(torch.float32, torch.bfloat16, torch.float16),
    why_not=lambda: None,
    function=rotary,
)
