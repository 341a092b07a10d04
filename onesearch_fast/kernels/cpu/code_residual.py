"""`code_residual` in the native core: one pass over each row, own threads."""

from __future__ import annotations

import torch

from onesearch_fast import _C
from onesearch_fast.registry import Implementation

IMPLEMENTATION = Implementation(
    backend="cpu",
    device_types=("cpu",),
    dtypes=(torch.float32,),
    why_not=lambda: None,
    function=_C.code_residual,
)
