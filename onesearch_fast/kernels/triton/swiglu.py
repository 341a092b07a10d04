"""`swiglu` in Triton: a program a block of columns of a row."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from onesearch_fast import _C
from onesearch_fast.kernels.triton._support import DEVICE_TYPES, DTYPES, why_not
from onesearch_fast.registry import Implementation

# Eight elements a thread, so that half widths are read and written 16 bytes at a time.
_BLOCK = 1024


@triton.jit
def _swiglu_kernel(
    x_ptr, out_ptr, hidden, stride_x_row, stride_out_row, BLOCK_HIDDEN: tl.constexpr
):
    row = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * BLOCK_HIDDEN + tl.arange(0, BLOCK_HIDDEN)
    inside = at < hidden
    x_ptr += row * stride_x_row + at
    gate = tl.load(x_ptr, mask=inside, other=0.0).to(tl.float32)
    up = tl.load(x_ptr + hidden, mask=inside, other=0.0).to(tl.float32)
    gated = gate / (1.0 + tl.exp(-gate)) * up
    tl.store(out_ptr + row * stride_out_row + at, gated.to(out_ptr.dtype.element_ty), mask=inside)


def swiglu(x: torch.Tensor, out: torch.Tensor) -> None:
    """Writes the gated halves of the rows of `x` into `out`."""
    _C.check_swiglu(x, out)
    rows, hidden = out.shape
    if out.numel() == 0:
        return
    grid = (rows, triton.cdiv(hidden, _BLOCK))
    _swiglu_kernel[grid](x, out, hidden, x.stride(0), out.stride(0), BLOCK_HIDDEN=_BLOCK)


IMPLEMENTATION = Implementation(
    backend="triton",
    device_types=DEVICE_TYPES,
    dtypes=DTYPES,
    why_not=why_not,
    function=swiglu,
)
