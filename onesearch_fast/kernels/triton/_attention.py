"""What the attention kernels share: queries that read one KV head are the rows of a product.

Row r of a (request, KV head) is head r % group of column r // group: a beam, or a prompt's token.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from onesearch_fast.kernels.triton._support import INTERPRETED

# The kernels raise 2 to scores, not e, so this goes into their scale.
LOG2_E = 1.4426950408889634


def tile_options(query: torch.Tensor) -> dict[str, int]:
    """Rows and keys of a program: what registers, shared memory and the compiler allow."""
    block_dim = triton.next_power_of_2(max(query.shape[3], 32))
    # float32 is multiplied without tensor cores, unrolled: larger tiles take ptxas minutes.
    if query.dtype == torch.float32:
        block_row, block_key = (32, 32) if block_dim <= 128 else (16, 16)
    elif block_dim <= 128:
        block_row, block_key = 64, 64
    else:
        block_row, block_key = (32, 32) if block_dim == 256 else (16, 32)
    return {
        "DOT_IN_F32": INTERPRETED,
        "BLOCK_ROW": block_row,
        "BLOCK_KEY": block_key,
        "BLOCK_DIM": block_dim,
        "num_warps": 4,
        "num_stages": 1 if query.dtype == torch.float32 else 2,
    }


@triton.jit
def load_queries(
    query_ptr,
    rows,
    group,
    kv_heads,
    head_dim,
    stride_batch,
    stride_column,
    stride_head,
    DOT_IN_F32: tl.constexpr,
    BLOCK_ROW: tl.constexpr,
    BLOCK_DIM: tl.constexpr,
):
    """The program's request, KV head and rows; each row's column and head; the mask and queries."""
    request = (tl.program_id(1) // kv_heads).to(tl.int64)
    kv_head = tl.program_id(1) % kv_heads
    row = tl.program_id(0) * BLOCK_ROW + tl.arange(0, BLOCK_ROW)
    column = (row // group).to(tl.int64)
    head = kv_head * group + row % group
    dim = tl.arange(0, BLOCK_DIM)
    inside = (row < rows)[:, None] & (dim < head_dim)[None, :]
    at = request * stride_batch + column * stride_column + head * stride_head
    query = tl.load(query_ptr + at[:, None] + dim[None, :], mask=inside, other=0.0)
    if DOT_IN_F32:
        query = query.to(tl.float32)
    return request, kv_head, row, column, head, inside, query


@triton.jit
def rescaled(maximum, scores, scale):
    """The new maximum, the one to take off, which is never -inf, and what earlier sums shrink by.

    Scores are scaled once their maximum is off: large ones then lose no more than they must.
    """
    higher = tl.maximum(maximum, scores)
    shift = tl.where(higher == float("-inf"), 0.0, higher)
    return higher, shift, tl.exp2(scale * (maximum - shift))


@triton.jit
def attend(
    query,
    key_ptr,
    value_ptr,
    stride_key,
    stride_value,
    begin_key,
    end_key,
    visible,
    head_dim,
    scale,
    DOT_IN_F32: tl.constexpr,
    BLOCK_ROW: tl.constexpr,
    BLOCK_KEY: tl.constexpr,
    BLOCK_DIM: tl.constexpr,
):
    """Maximum, sum and mix of each row over the keys [begin_key, end_key) that lie below `visible`.

    visible: one number, or [row, 1]. The softmax is online; the mix is left undivided.
    """
    dim = tl.arange(0, BLOCK_DIM)
    maximum = tl.full([BLOCK_ROW], float("-inf"), tl.float32)
    total = tl.zeros([BLOCK_ROW], tl.float32)
    mixed = tl.zeros([BLOCK_ROW, BLOCK_DIM], tl.float32)
    for begin in range(begin_key, end_key, BLOCK_KEY):
        key_at = begin + tl.arange(0, BLOCK_KEY)
        mask = (key_at < end_key)[:, None] & (dim < head_dim)[None, :]
        far = key_at.to(tl.int64)[:, None]
        key = tl.load(key_ptr + far * stride_key + dim[None, :], mask=mask, other=0.0)
        value = tl.load(value_ptr + far * stride_value + dim[None, :], mask=mask, other=0.0)
        if DOT_IN_F32:
            key = key.to(tl.float32)
            value = value.to(tl.float32)
        scores = tl.dot(query, tl.trans(key), input_precision="ieee")
        scores = tl.where(key_at[None, :] < visible, scores, float("-inf"))
        maximum, shift, shrunk = rescaled(maximum, tl.max(scores, axis=1), scale)
        weights = tl.exp2(scale * (scores - shift[:, None]))
        total = total * shrunk + tl.sum(weights, axis=1)
        mixed = mixed * shrunk[:, None]
        mixed = tl.dot(weights.to(value.dtype), value, mixed, input_precision="ieee")
    return maximum, total, mixed
