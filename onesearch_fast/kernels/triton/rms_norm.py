"""`rms_norm` in Triton: a program a row."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from onesearch_fast import _C
from onesearch_fast.kernels.triton._support import DEVICE_TYPES, DTYPES, warps_for, why_not
from onesearch_fast.registry import Implementation

# Elements that a program holds at a time.
_WIDEST_BLOCK = 4096


@triton.jit
def _rms_norm_kernel(
    x_ptr,
    weight_ptr,
    out_ptr,
    hidden,
    eps,
    stride_x_row,
    stride_out_row,
    BLOCK_HIDDEN: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    lanes = tl.arange(0, BLOCK_HIDDEN)
    squares = tl.zeros([BLOCK_HIDDEN], tl.float32)
    for begin in range(0, hidden, BLOCK_HIDDEN):
        at = begin + lanes
        x = tl.load(x_ptr + row * stride_x_row + at, mask=at < hidden, other=0.0).to(tl.float32)
        squares += x * x
    root = tl.sqrt(tl.sum(squares, axis=0) / hidden + eps)
    # The second reading comes from the first cache.
    for begin in range(0, hidden, BLOCK_HIDDEN):
        at = begin + lanes
        inside = at < hidden
        x = tl.load(x_ptr + row * stride_x_row + at, mask=inside, other=0.0).to(tl.float32)
        weight = tl.load(weight_ptr + at, mask=inside, other=0.0).to(tl.float32)
        normed = (x / root * weight).to(out_ptr.dtype.element_ty)
        tl.store(out_ptr + row * stride_out_row + at, normed, mask=inside)


def rms_norm(x: torch.Tensor, weight: torch.Tensor, eps: float, out: torch.Tensor) -> None:
    """Writes the normed rows of `x` into `out`."""
    _C.check_rms_norm(x, weight, eps, out)
    rows, hidden = x.shape
    if rows == 0:
        return
    block = min(triton.next_power_of_2(max(hidden, 16)), _WIDEST_BLOCK)
    strides = (x.stride(0), out.stride(0))
    options = {"BLOCK_HIDDEN": block, "num_warps": warps_for(block)}
    _rms_norm_kernel[(rows,)](x, weight, out, hidden, eps, *strides, **options)


IMPLEMENTATION = Implementation(
    backend="triton",
    device_types=DEVICE_TYPES,
    dtypes=DTYPES,
    why_not=why_not,
    function=rms_norm,
)
