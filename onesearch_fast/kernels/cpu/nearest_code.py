"""`nearest_code` in the native core: products and argmin in one pass over tiles in registers."""

from __future__ import annotations

import torch

from onesearch_fast import _C
from onesearch_fast.registry import Implementation

IMPLEMENTATION = Implementation(
    backend="cpu",
    device_types=("cpu",),
    dtypes=(torch.float32,),
    why_not=lambda: None,
    function=_C.nearest_code,
)
