"""`rotary` in Triton: a program a token and block of heads."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from onesearch_fast import _C
from onesearch_fast.kernels.triton._support import DEVICE_TYPES, DTYPES, why_not
from onesearch_fast.registry import Implementation

# Elements of half a block of heads.
_WIDEST_BLOCK = 2048


@triton.jit
def _rotary_kernel(
    x_ptr,
    rotation_ptr,
    norm_weight_ptr,
    out_ptr,
    tokens,
    heads,
    half,
    eps,
    stride_x_batch,
    stride_x_token,
    stride_x_head,
    stride_rotation_batch,
    stride_rotation_token,
    stride_norm_weight_head,
    stride_out_batch,
    stride_out_token,
    stride_out_head,
    NORMED: tl.constexpr,
    BLOCK_HEAD: tl.constexpr,
    BLOCK_HALF: tl.constexpr,
):
    request = (tl.program_id(0) // tokens).to(tl.int64)
    token = (tl.program_id(0) % tokens).to(tl.int64)
    head = tl.program_id(1) * BLOCK_HEAD + tl.arange(0, BLOCK_HEAD)[:, None]
    lane = tl.arange(0, BLOCK_HALF)[None, :]
    inside = (head < heads) & (lane < half)
    x_ptr += request * stride_x_batch + token * stride_x_token + head * stride_x_head + lane
    first = tl.load(x_ptr, mask=inside, other=0.0).to(tl.float32)
    second = tl.load(x_ptr + half, mask=inside, other=0.0).to(tl.float32)
    if NORMED:
        squares = tl.sum(first * first + second * second, axis=1, keep_dims=True)
        root = tl.sqrt(squares / (2 * half) + eps)
        norm_weight_ptr += head * stride_norm_weight_head + lane
        first_weight = tl.load(norm_weight_ptr, mask=inside, other=0.0).to(tl.float32)
        second_weight = tl.load(norm_weight_ptr + half, mask=inside, other=0.0).to(tl.float32)
        first = first / root * first_weight
        second = second / root * second_weight
    rotation_ptr += request * stride_rotation_batch + token * stride_rotation_token + lane
    cosine = tl.load(rotation_ptr, mask=lane < half, other=0.0)
    sine = tl.load(rotation_ptr + half, mask=lane < half, other=0.0)
    out_ptr += request * stride_out_batch + token * stride_out_token + head * stride_out_head + lane
    narrow = out_ptr.dtype.element_ty
    tl.store(out_ptr, (first * cosine - second * sine).to(narrow), mask=inside)
    tl.store(out_ptr + half, (second * cosine + first * sine).to(narrow), mask=inside)


def rotary(
    x: torch.Tensor,
    rotation: torch.Tensor,
    norm_weight: torch.Tensor | None,
    eps: float,
    out: torch.Tensor,
) -> None:
    """Writes the rotated heads of `x` into `out`."""
    _C.check_rotary(x, rotation, norm_weight, eps, out)
    if x.numel() == 0:
        return
    batch, tokens, heads, head_dim = x.shape
    block_half = triton.next_power_of_2(max(head_dim // 2, 16))
    block_head = min(triton.next_power_of_2(heads), max(1, _WIDEST_BLOCK // block_half))
    _rotary_kernel[(batch * tokens, triton.cdiv(heads, block_head))](
        x,
        rotation,
        norm_weight,
        out,
        tokens,
        heads,
        head_dim // 2,
        eps,
        *x.stride()[:3],
        *rotation.stride()[:2],
        0 if norm_weight is None else norm_weight.stride(0),
        *out.stride()[:3],
        NORMED=norm_weight is not None,
        BLOCK_HEAD=block_head,
        BLOCK_HALF=block_half,
    )


IMPLEMENTATION = Implementation(
    backend="triton",
    device_types=DEVICE_TYPES,
    dtypes=DTYPES,
    why_not=why_not,
    function=rotary,
)
