"""`causal_attention` in the native core: the kernel of `beam_attention`, tokens for beams."""

from __future__ import annotations

import torch

from onesearch_fast import _C
from onesearch_fast.kernels.cpu._head_padding import ALIGNMENT, with_padded_heads
from onesearch_fast.registry import Implementation


def causal_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float, out: torch.Tensor
) -> None:
    """Writes what each token mixes of the values up to itself into `out`."""

    def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mixed: torch.Tensor) -> None:
        _C.causal_attention(q, k, v, scale, mixed)

    if query.shape[3] % ALIGNMENT:
        with_padded_heads(attend, out, query, key, value)
    else:
        attend(query, key, value, out)


IMPLEMENTATION = Implementation(
    backend="cpu",
    device_types=("cpu",),
    dtypes=(torch.float32, torch.bfloat16, torch.float16),
    why_not=lambda: None,
    function=causal_attention,
)
