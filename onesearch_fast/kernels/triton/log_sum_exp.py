"""`log_sum_exp` in Triton: a program a row."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from onesearch_fast import _C
from onesearch_fast.kernels.triton._support import (
    DEVICE_TYPES,
    DTYPES,
    log_sum_exp_of_row,
    warps_for,
    why_not,
)
from onesearch_fast.registry import Implementation

# Elements that a program holds at a time.
_WIDEST_BLOCK = 4096


@triton.jit
def _log_sum_exp_kernel(
    x_ptr, out_ptr, columns, stride_x_row, stride_out_row, BLOCK_COLUMN: tl.constexpr
):
    row = tl.program_id(0).to(tl.int64)
    value = log_sum_exp_of_row(x_ptr + row * stride_x_row, columns, 1, BLOCK_COLUMN)
    tl.store(out_ptr + row * stride_out_row, value)


def log_sum_exp(x: torch.Tensor, out: torch.Tensor) -> None:
    """Writes the log-sum-exp of every row of `x` into `out`."""
    _C.check_log_sum_exp(x, out)
    rows, columns = x.shape
    if rows == 0:
        return
    block = min(triton.next_power_of_2(max(columns, 16)), _WIDEST_BLOCK)
    options = {"BLOCK_COLUMN": block, "num_warps": warps_for(block)}
    _log_sum_exp_kernel[(rows,)](x, out, columns, x.stride(0), out.stride(0), **options)


IMPLEMENTATION = Implementation(
    backend="triton",
    device_types=DEVICE_TYPES,
    dtypes=DTYPES,
    why_not=why_not,
    function=log_sum_exp,
)
