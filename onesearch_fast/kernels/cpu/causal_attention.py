"""`causal_attention` in the native core: the kernel of `beam_attention`, tokens for beams."""

from __future__ import annotations

import torch

from onesearch_fast import _C
from onesearch_fast.kernels.cpu._head_padding import ALIGNMENT, copy_unpadded, padded
from onesearch_fast.registry import Implementation


def causal_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float, out: torch.Tensor
) -> None:
    """Writes what each token mixes of the values up to itself into `out`."""
    head_dim = query.shape[3]
    if head_dim % ALIGNMENT == 0:
        _C.causal_attention(query, key, value, scale, out)
        return
    query = padded(query)
    mixed = torch.empty_like(query)
    _C.causal_attention(query, padded(key), padded(value), scale, mixed.flatten(2))
    copy_unpadded(mixed, out, head_dim)


IMPLEMENTATION = Implementation(
    backend="cpu",
    device_types=("cpu",),
    dtypes=(torch.float32, torch.bfloat16, torch.float16),
    why_not=lambda: None,
    function=causal_attention,
)
