"""The reference of `swiglu`, in float64."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812

from onesearch_fast import _C
from onesearch_fast.registry import Implementation


def swiglu(x: torch.Tensor, out: torch.Tensor) -> None:
    """Writes the gated halves of the rows of `x` into `out`."""
    _C.check_swiglu(x, out)
    gate, up = x.double().chunk(2, dim=-1)
    out.copy_(F.silu(gate) * up)


IMPLEMENTATION = Implementation(
    backend="torch",
    device_types=("cpu",),
    dtypes=(torch.float32, torch.bfloat16, torch.float16),
    why_not=lambda: None,
    function=swiglu,
)
