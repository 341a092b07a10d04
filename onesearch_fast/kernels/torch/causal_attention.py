"""The reference of `causal_attention`: a mask over all scores, in float64."""

from __future__ import annotations

import math

import torch

from onesearch_fast import _C
from onesearch_fast.registry import Implementation


def causal_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scale: float | None,
    out: torch.Tensor,
) -> None:
    """Writes what each token mixes of the values up to itself into `out`."""
    scale = _C.check_causal_attention(query, key, value, scale, out)
    tokens, heads = query.shape[1:3]
    group = heads // key.shape[1]
    keys, values = (one.double().repeat_interleave(group, dim=1) for one in (key, value))
    scores = scale * query.double().transpose(1, 2) @ keys.mT
    later = torch.ones(scores.shape[2:], dtype=torch.bool).triu(key.shape[2] - tokens + 1)
    weights = scores.masked_fill(later, -math.inf).softmax(-1)
    out.copy_((weights @ values).transpose(1, 2).flatten(2))


IMPLEMENTATION = Implementation(
    backend="torch",
    device_types=("cpu",),
    dtypes=(torch.float32, torch.bfloat16, torch.float16),
    why_not=lambda: None,
    function=causal_attention,
)
