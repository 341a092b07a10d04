"""`causal_attention` in the native core: the kernel of `beam_attention`, tokens for beams."""

from __future__ import annotations

import torch

from onesearch_fast import _C
from onesearch_fast.registry import Implementation

IMPLEMENTATION = Implementation(
    backend="cpu",
    device_types=("cpu",),
    dtypes=(torch.float32, torch.bfloat16, torch.float16),
    why_not=lambda: None,
    function=_C.causal_attention,
)
