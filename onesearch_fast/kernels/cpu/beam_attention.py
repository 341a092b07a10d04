"""`beam_attention` in the native core: blocked products, running softmax, own threads."""

from __future__ import annotations

import torch

from onesearch_fast import _C
from onesearch_fast.kernels.cpu._head_padding import ALIGNMENT, copy_unpadded, padded
from onesearch_fast.registry import Implementation


def beam_attention(
    query: torch.Tensor,
    context_key: torch.Tensor | None,
    context_value: torch.Tensor | None,
    context_length: torch.Tensor | None,
    own_key: torch.Tensor | None,
    own_value: torch.Tensor | None,
    ancestry: torch.Tensor | None,
    scale: float,
    out: torch.Tensor,
) -> None:
    """Writes what each beam mixes of its context and its own past into `out`."""
    head_dim = query.shape[3]
    if head_dim % ALIGNMENT == 0:
        _C.beam_attention(
            query,
            context_key,
            context_value,
            context_length,
            own_key,
            own_value,
            ancestry,
            scale,
            out,
        )
        return
    query = padded(query)
    mixed = torch.empty_like(query)
    context = (padded(context_key), padded(context_value), context_length)
    own = (padded(own_key), padded(own_value), ancestry)
    _C.beam_attention(query, *context, *own, scale, mixed.flatten(2))
    copy_unpadded(mixed, out, head_dim)


IMPLEMENTATION = Implementation(
    backend="cpu",
    device_types=("cpu",),
    dtypes=(torch.float32, torch.bfloat16, torch.float16),
    why_not=lambda: None,
    function=beam_attention,
)
