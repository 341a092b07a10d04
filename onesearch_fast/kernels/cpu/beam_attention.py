"""`beam_attention` in the native core: blocked products, running softmax, own threads."""

from __future__ import annotations

import torch

from onesearch_fast import _C
from onesearch_fast.kernels.cpu._head_padding import ALIGNMENT, with_padded_heads
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

    def attend(
        q: torch.Tensor,
        k: torch.Tensor | None,
        v: torch.Tensor | None,
        own_k: torch.Tensor | None,
        own_v: torch.Tensor | None,
        mixed: torch.Tensor,
    ) -> None:
        _C.beam_attention(q, k, v, context_length, own_k, own_v, ancestry, scale, mixed)

    if query.shape[3] % ALIGNMENT:
        with_padded_heads(attend, out, query, context_key, context_value, own_key, own_value)
    else:
        attend(query, context_key, context_value, own_key, own_value, out)


IMPLEMENTATION = Implementation(
    backend="cpu",
    device_types=("cpu",),
    dtypes=(torch.float32, torch.bfloat16, torch.float16),
    why_not=lambda: None,
    function=beam_attention,
)
