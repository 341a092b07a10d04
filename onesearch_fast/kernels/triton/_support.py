"""What the Triton kernels share."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from onesearch_fast.registry import gpu_why_not

INTERPRETED: bool = triton.knobs.runtime.interpret
DEVICE_TYPES = ("cpu",) if INTERPRETED else ("cuda",)
DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def why_not() -> str | None:
    """None when Triton kernels can run here."""
    return None if INTERPRETED else gpu_why_not()


def warps_for(block: int) -> int:
    """Of a program over a row: eight elements a thread, 16 bytes at a time in half widths."""
    return min(max(block // 256, 1), 16)


@triton.jit
def log_sum_exp_of_row(row_ptr, columns, stride, BLOCK: tl.constexpr):
    """The log-sum-exp of a row in one pass: NaN with a NaN in it, else +inf with +inf in it."""
    lanes = tl.arange(0, BLOCK)
    maximum = tl.full([BLOCK], float("-inf"), tl.float32)
    total = tl.zeros([BLOCK], tl.float32)
    nans = tl.zeros([BLOCK], tl.int32)
    for begin in range(0, columns, BLOCK):
        column = (begin + lanes).to(tl.int64)
        x = tl.load(row_ptr + column * stride, mask=column < columns, other=float("-inf"))
        x = x.to(tl.float32)
        nans += (x != x).to(tl.int32)
        higher = tl.maximum(maximum, x)
        # So that -inf less -inf is never taken.
        shift = tl.where(higher == float("-inf"), 0.0, higher)
        total = total * tl.exp(maximum - shift) + tl.exp(x - shift)
        maximum = higher
    top = tl.max(maximum, axis=0)
    shift = tl.where(top == float("-inf"), 0.0, top)
    value = top + tl.log(tl.sum(total * tl.exp(maximum - shift), axis=0))
    value = tl.where(top == float("inf"), top, value)
    return tl.where(tl.sum(nans, axis=0) > 0, float("nan"), value)
