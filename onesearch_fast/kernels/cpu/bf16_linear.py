"""`bf16_linear` in the native core: products of pairs in vector registers, own threads."""

from __future__ import annotations

import torch

from onesearch_fast import _C
from onesearch_fast.registry import Implementation

IMPLEMENTATION = Implementation(
    backend="cpu",
    device_types=("cpu",),
    dtypes=(torch.bfloat16,),
    why_not=lambda: None,
    function=_C.bf16_linear,
)
