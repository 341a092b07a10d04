"""`causal_attention` on a GPU: torch's own fused kernels where it has one, else Triton's."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812

from onesearch_fast import _C
from onesearch_fast.registry import Implementation, gpu_why_not


def causal_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scale: float | None,
    out: torch.Tensor,
) -> None:
    """Writes what each token mixes of the values up to itself into `out`."""
    scale = _C.check_causal_attention(query, key, value, scale, out)
    if query.numel() == 0:
        return
    if not _fused(query, key):
        from onesearch_fast.kernels.triton.causal_attention import causal_attention as in_tiles

        in_tiles(query, key, value, scale, out)
        return
    mixed = F.scaled_dot_product_attention(
        query.transpose(1, 2), key, value, is_causal=True, scale=scale, enable_gqa=True
    )
    out.copy_(mixed.transpose(1, 2).flatten(2))


def _fused(query: torch.Tensor, key: torch.Tensor) -> bool:
    """Whether torch has a kernel that makes neither a mask nor all scores at once.

    It has none for the last tokens of a prompt alone, nor for heads that share float32 keys.
    """
    shared = query.shape[2] != key.shape[1]
    return query.shape[1] == key.shape[2] and not (shared and query.dtype == torch.float32)


IMPLEMENTATION = Implementation(
    backend="cuda",
    device_types=("cuda",),
    dtypes=(torch.float32, torch.bfloat16, torch.float16),
    why_not=gpu_why_not,
    function=causal_attention,
)
