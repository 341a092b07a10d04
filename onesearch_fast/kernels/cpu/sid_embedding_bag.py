"""`sid_embedding_bag` in the native core: what is read often is read from cache."""

from __future__ import annotations

import torch

from onesearch_fast import _C
from onesearch_fast.registry import Implementation

IMPLEMENTATION = Implementation(
    backend="cpu",
    device_types=("cpu",),
    dtypes=(torch.float32, torch.bfloat16, torch.float16, torch.int8),
    why_not=lambda: None,
    function=_C.sid_embedding_bag,
)
