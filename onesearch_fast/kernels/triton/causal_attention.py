"""`causal_attention` in Triton: tokens and heads that read one KV head are rows of a product."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from onesearch_fast import _C
from onesearch_fast.kernels.triton._support import (
    DEVICE_TYPES,
    DTYPES,
    INTERPRETED,
    attention_tile,
    why_not,
)
from onesearch_fast.registry import Implementation

_LOG2_E = 1.4426950408889634


@triton.jit
def _causal_attention_kernel(
    query_ptr,
    key_ptr,
    value_ptr,
    out_ptr,
    scale,
    tokens,
    group,
    kv_heads,
    head_dim,
    prompt,
    stride_query_batch,
    stride_query_token,
    stride_query_head,
    stride_key_batch,
    stride_key_head,
    stride_key_prompt,
    stride_value_batch,
    stride_value_head,
    stride_value_prompt,
    stride_out_batch,
    stride_out_token,
    DOT_IN_F32: tl.constexpr,
    BLOCK_ROW: tl.constexpr,
    BLOCK_KEY: tl.constexpr,
    BLOCK_DIM: tl.constexpr,
):
    request = (tl.program_id(1) // kv_heads).to(tl.int64)
    kv_head = tl.program_id(1) % kv_heads
    row = tl.program_id(0) * BLOCK_ROW + tl.arange(0, BLOCK_ROW)
    token = (row // group).to(tl.int64)
    head = kv_head * group + row % group
    dim = tl.arange(0, BLOCK_DIM)
    inside = (token < tokens)[:, None] & (dim < head_dim)[None, :]
    at = request * stride_query_batch + token * stride_query_token + head * stride_query_head
    query = tl.load(query_ptr + at[:, None] + dim[None, :], mask=inside, other=0.0)
    if DOT_IN_F32:
        query = query.to(tl.float32)
    visible = tl.minimum(prompt - tokens + token + 1, prompt)
    key_ptr += request * stride_key_batch + kv_head * stride_key_head
    value_ptr += request * stride_value_batch + kv_head * stride_value_head
    maximum = tl.full([BLOCK_ROW], float("-inf"), tl.float32)
    total = tl.zeros([BLOCK_ROW], tl.float32)
    mixed = tl.zeros([BLOCK_ROW, BLOCK_DIM], tl.float32)
    for begin in range(0, tl.max(visible, axis=0), BLOCK_KEY):
        key_at = (begin + tl.arange(0, BLOCK_KEY)).to(tl.int64)
        mask = (key_at < prompt)[:, None] & (dim < head_dim)[None, :]
        key_offset = key_at[:, None] * stride_key_prompt + dim[None, :]
        key = tl.load(key_ptr + key_offset, mask=mask, other=0.0)
        value_offset = key_at[:, None] * stride_value_prompt + dim[None, :]
        value = tl.load(value_ptr + value_offset, mask=mask, other=0.0)
        if DOT_IN_F32:
            key = key.to(tl.float32)
            value = value.to(tl.float32)
        scores = tl.dot(query, tl.trans(key), input_precision="ieee")
        scores = tl.where(key_at[None, :] < visible[:, None], scores, float("-inf"))
        # Every row sees the first key, so no maximum stays -inf; scores are scaled once it is off.
        higher = tl.maximum(maximum, tl.max(scores, axis=1))
        shrunk = tl.exp2(scale * (maximum - higher))
        weights = tl.exp2(scale * (scores - higher[:, None]))
        maximum = higher
        total = total * shrunk + tl.sum(weights, axis=1)
        mixed = mixed * shrunk[:, None]
        mixed = tl.dot(weights.to(value.dtype), value, mixed, input_precision="ieee")
    at = request * stride_out_batch + token * stride_out_token + head * head_dim
    narrow = (mixed / total[:, None]).to(out_ptr.dtype.element_ty)
    tl.store(out_ptr + at[:, None] + dim[None, :], narrow, mask=inside)


def causal_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float, out: torch.Tensor
) -> None:
    """Writes what each token mixes of the values up to itself into `out`."""
    _C.check_causal_attention(query, key, value, scale, out)
    if query.numel() == 0:
        return
    batch, tokens, heads, head_dim = query.shape
    kv_heads, prompt = key.shape[1:3]
    group = heads // kv_heads
    block_dim = triton.next_power_of_2(max(head_dim, 32))
    block_row, block_key = attention_tile(query.dtype, block_dim)
    _causal_attention_kernel[(triton.cdiv(tokens * group, block_row), batch * kv_heads)](
        query,
        key,
        value,
        out,
        scale * _LOG2_E,
        tokens,
        group,
        kv_heads,
        head_dim,
        prompt,
        *query.stride()[:3],
        *key.stride()[:3],
        *value.stride()[:3],
        *out.stride()[:2],
        DOT_IN_F32=INTERPRETED,
        BLOCK_ROW=block_row,
        BLOCK_KEY=block_key,
        BLOCK_DIM=block_dim,
        num_warps=4,
        num_stages=1 if query.dtype == torch.float32 else 2,
    )


IMPLEMENTATION = Implementation(
    backend="triton",
    device_types=DEVICE_TYPES,
    dtypes=DTYPES,
    why_not=why_not,
    function=causal_attention,
)
