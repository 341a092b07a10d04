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
    query_ptr,
    key_ptr,
    value_ptr,
    tokens,
    heads,
    kv_heads,
    half,
    eps,
    stride_x_batch,
    stride_x_token,
    stride_x_head,
    stride_rotation_batch,
    stride_rotation_token,
    stride_norm_weight_head,
    stride_query_batch,
    stride_query_token,
    stride_query_head,
    stride_key_batch,
    stride_key_token,
    stride_key_head,
    stride_value_batch,
    stride_value_token,
    stride_value_head,
    BLOCK_HEAD: tl.constexpr,
    BLOCK_HALF: tl.constexpr,
):
    request = (tl.program_id(0) // tokens).to(tl.int64)
    token = (tl.program_id(0) % tokens).to(tl.int64)
    head = tl.program_id(1) * BLOCK_HEAD + tl.arange(0, BLOCK_HEAD)[:, None]
    lane = tl.arange(0, BLOCK_HALF)[None, :]
    inside = (head < heads + 2 * kv_heads) & (lane < half)
    x_ptr += request * stride_x_batch + token * stride_x_token + head * stride_x_head + lane
    first = tl.load(x_ptr, mask=inside, other=0.0).to(tl.float32)
    second = tl.load(x_ptr + half, mask=inside, other=0.0).to(tl.float32)
    rotated = head < heads + kv_heads
    normed_first, normed_second = first, second
    if norm_weight_ptr is not None:
        squares = tl.sum(first * first + second * second, axis=1, keep_dims=True)
        root = tl.sqrt(squares / (2 * half) + eps)
        norm_weight_ptr += head * stride_norm_weight_head + lane
        weighed = inside & rotated
        normed_first = first / root * tl.load(norm_weight_ptr, mask=weighed, other=0.0)
        normed_second = second / root * tl.load(norm_weight_ptr + half, mask=weighed, other=0.0)
    rotation_ptr += request * stride_rotation_batch + token * stride_rotation_token + lane
    cosine = tl.load(rotation_ptr, mask=lane < half, other=0.0)
    sine = tl.load(rotation_ptr + half, mask=lane < half, other=0.0)
    turned_first = normed_first * cosine - normed_second * sine
    turned_second = normed_second * cosine + normed_first * sine
    query_ptr += request * stride_query_batch + token * stride_query_token
    key_ptr += request * stride_key_batch + token * stride_key_token
    value_ptr += request * stride_value_batch + token * stride_value_token
    kv_head = head - heads
    to = tl.where(
        rotated,
        key_ptr + kv_head * stride_key_head,
        value_ptr + (kv_head - kv_heads) * stride_value_head,
    )
    to = tl.where(head < heads, query_ptr + head * stride_query_head, to) + lane
    narrow = query_ptr.dtype.element_ty
    tl.store(to, tl.where(rotated, turned_first, first).to(narrow), mask=inside)
    tl.store(to + half, tl.where(rotated, turned_second, second).to(narrow), mask=inside)


def rotary(
    x: torch.Tensor,
    rotation: torch.Tensor,
    norm_weight: torch.Tensor | None,
    eps: float,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
) -> None:
    """Writes the rotated heads of queries and keys, and those of values, to their places."""
    _C.check_rotary(x, rotation, norm_weight, eps, query, key, value)
    if x.numel() == 0:
        return
    batch, tokens, heads, head_dim = x.shape
    block_half = triton.next_power_of_2(max(head_dim // 2, 16))
    block_head = min(triton.next_power_of_2(heads), max(1, _WIDEST_BLOCK // block_half))
    _rotary_kernel[(batch * tokens, triton.cdiv(heads, block_head))](
        x,
        rotation,
        norm_weight,
        query,
        key,
        value,
        tokens,
        query.shape[2],
        key.shape[2],
        head_dim // 2,
        eps,
        *x.stride()[:3],
        *rotation.stride()[:2],
        0 if norm_weight is None else norm_weight.stride(0),
        *query.stride()[:3],
        *key.stride()[:3],
        *value.stride()[:3],
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
