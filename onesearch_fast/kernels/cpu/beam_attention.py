"""`beam_attention` in the native core: blocked products, running softmax, own threads."""

from __future__ import annotations

import torch

from onesearch_fast import _C
from onesearch_fast.registry import Implementation

IMPLEMENTATION = Implementation(
    backend="cpu",
    device_types=("cpu",),
    dtypes=(torch.float32, torch.bfloat16, torch.float16),
    why_not=lambda: None,
    function=_C.beam_attention,
)
