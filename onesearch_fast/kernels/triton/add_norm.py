"""`add_norm` in Triton: a program a row, which stays in registers."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from onesearch_fast import _C
from onesearch_fast.kernels.triton._support import DEVICE_TYPES, DTYPES, warps_for, why_not
from onesearch_fast.registry import Implementation


@triton.jit
def _add_norm_kernel(
    x_ptr,
    residual_ptr,
    weight_ptr,
    bias_ptr,
    sum_ptr,
    normed_ptr,
    hidden,
    eps,
    stride_x_row,
    stride_residual_row,
    stride_sum_row,
    stride_normed_row,
    BLOCK_HIDDEN: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, BLOCK_HIDDEN)
    inside = at < hidden
    x = tl.load(x_ptr + row * stride_x_row + at, mask=inside, other=0.0).to(tl.float32)
    residual_ptr += row * stride_residual_row + at
    total = x + tl.load(residual_ptr, mask=inside, other=0.0).to(tl.float32)
    narrow = sum_ptr.dtype.element_ty
    sum_ptr += row * stride_sum_row + at
    tl.store(sum_ptr, total.to(narrow), mask=inside)
    # Read again, as it was rounded; from the first cache, and maybe by another thread.
    tl.debug_barrier()
    total = tl.load(sum_ptr, mask=inside, other=0.0).to(tl.float32)
    if bias_ptr is not None:
        total = tl.where(inside, total - tl.sum(total, axis=0) / hidden, 0.0)
    root = tl.sqrt(tl.sum(total * total, axis=0) / hidden + eps)
    normed = total / root * tl.load(weight_ptr + at, mask=inside, other=0.0).to(tl.float32)
    if bias_ptr is not None:
        normed += tl.load(bias_ptr + at, mask=inside, other=0.0).to(tl.float32)
    tl.store(normed_ptr + row * stride_normed_row + at, normed.to(narrow), mask=inside)


def add_norm(
    x: torch.Tensor,
    residual: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    eps: float,
    sum: torch.Tensor,
    normed: torch.Tensor,
) -> None:
    """Writes `x` + `residual` into `sum`, and its normed rows into `normed`."""
    _C.check_add_norm(x, residual, weight, bias, eps, sum, normed)
    rows, hidden = x.shape
    if x.numel() == 0:
        return
    block = triton.next_power_of_2(max(hidden, 16))
    _add_norm_kernel[(rows,)](
        x,
        residual,
        weight,
        bias,
        sum,
        normed,
        hidden,
        eps,
        *(tensor.stride(0) for tensor in (x, residual, sum, normed)),
        BLOCK_HIDDEN=block,
        num_warps=warps_for(block),
    )


IMPLEMENTATION = Implementation(
    backend="triton",
    device_types=DEVICE_TYPES,
    dtypes=DTYPES,
    why_not=why_not,
    function=add_norm,
)
