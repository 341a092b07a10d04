"""`causal_attention` on a GPU: torch's own fused kernels, which are made for long queries."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812

from onesearch_fast import _C
from onesearch_fast.registry import Implementation, gpu_why_not


def causal_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float, out: torch.Tensor
) -> None:
    """Writes what each token mixes of the values up to itself into `out`."""
    _C.check_causal_attention(query, key, value, scale, out)
    if query.numel() == 0:
        return
    tokens, prompt = query.shape[1], key.shape[2]
    mask = None
    if tokens < prompt:
        seen = torch.ones(tokens, prompt, dtype=torch.bool, device=query.device)
        mask = seen.tril(prompt - tokens)
    mixed = F.scaled_dot_product_attention(
        query.transpose(1, 2),
        key,
        value,
        mask,
        is_causal=mask is None,
        scale=scale,
        enable_gqa=True,
    )
    out.copy_(mixed.transpose(1, 2).flatten(2))


IMPLEMENTATION = Implementation(
    backend="cuda",
    device_types=("cuda",),
    dtypes=(torch.float32, torch.bfloat16, torch.float16),
    why_not=gpu_why_not,
    function=causal_attention,
)
