"""`beam_attention` in the native core: blocked products, running softmax, own threads."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812

from onesearch_fast import _C
from onesearch_fast.registry import Implementation

# The native core takes head sizes that are multiples of this.
_ALIGNMENT = 8


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
    """Writes softmax(scale * query keys^T) values of every beam and head into `out`."""
    head_dim = query.shape[3]
    missing = -head_dim % _ALIGNMENT
    if not missing:
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

    def padded(tensor: torch.Tensor | None) -> torch.Tensor | None:
        return None if tensor is None else F.pad(tensor, (0, missing))

    wide = F.pad(query, (0, missing))
    mixed = torch.empty_like(wide)
    _C.beam_attention(
        wide,
        padded(context_key),
        padded(context_value),
        context_length,
        padded(own_key),
        padded(own_value),
        ancestry,
        scale,
        mixed.flatten(2),
    )
    out.copy_(mixed[..., :head_dim].flatten(2))


IMPLEMENTATION = Implementation(
    backend="cpu",
    device_types=("cpu",),
    dtypes=(torch.float32, torch.bfloat16, torch.float16),
    why_not=lambda: None,
    function=beam_attention,
)
