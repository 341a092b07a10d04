"""`beam_attention` in Triton: the beams and heads that read one KV head are the rows of a product.

A program takes a tile of those rows over the whole context, read once for all of them, and then
over each row's own tokens, so that nothing is left to merge. Where a request has so few rows that
most of a GPU would idle, a program takes a chunk of the context, and a second launch merges them.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from onesearch_fast import _C
from onesearch_fast.kernels.triton._attention import (
    LOG2_E,
    attend,
    load_queries,
    rescaled,
    tile_options,
)
from onesearch_fast.kernels.triton._support import DEVICE_TYPES, DTYPES, why_not
from onesearch_fast.registry import Implementation

# A request of at most so many programs is cut into chunks of so many keys. Its programs are those
# of the batch's widest, whose beams decide for all; how many requests there are decides nothing.
_FEW_PROGRAMS = 16
_CHUNK_KEYS = 256


# What differs between the levels and prompts of a search, and never lets a read be wider: else each
# value that is 1 or turns divisible by 16 would have the kernel compiled anew.
_NOT_SPECIALIZED = (
    *("rows", "prompt", "steps"),
    *("stride_ancestry_batch", "stride_ancestry_beam", "stride_ancestry_step"),
)


@triton.jit(do_not_specialize=_NOT_SPECIALIZED)
def _beam_attention_kernel(
    query_ptr,
    context_key_ptr,
    context_value_ptr,
    context_length_ptr,
    own_key_ptr,
    own_value_ptr,
    ancestry_ptr,
    partial_ptr,
    peak_ptr,
    out_ptr,
    scale,
    rows,
    group,
    kv_heads,
    head_dim,
    prompt,
    steps,
    stride_query_batch,
    stride_query_beam,
    stride_query_head,
    stride_context_key_batch,
    stride_context_key_head,
    stride_context_key_prompt,
    stride_context_value_batch,
    stride_context_value_head,
    stride_context_value_prompt,
    stride_context_length_batch,
    stride_own_key_batch,
    stride_own_key_step,
    stride_own_key_beam,
    stride_own_key_head,
    stride_own_value_batch,
    stride_own_value_step,
    stride_own_value_beam,
    stride_own_value_head,
    stride_ancestry_batch,
    stride_ancestry_beam,
    stride_ancestry_step,
    stride_out_batch,
    stride_out_beam,
    CONTEXT: tl.constexpr,
    CHUNK_KEYS: tl.constexpr,
    DOT_IN_F32: tl.constexpr,
    BLOCK_ROW: tl.constexpr,
    BLOCK_KEY: tl.constexpr,
    BLOCK_DIM: tl.constexpr,
):
    """CONTEXT: "whole", or "chunk", which leaves maximum, sum and mix, and "merge" of those."""
    request, kv_head, row, beam, head, inside, query = load_queries(
        query_ptr,
        rows,
        group,
        kv_heads,
        head_dim,
        stride_query_batch,
        stride_query_beam,
        stride_query_head,
        DOT_IN_F32,
        BLOCK_ROW,
        BLOCK_DIM,
    )
    dim = tl.arange(0, BLOCK_DIM)
    maximum = tl.full([BLOCK_ROW], float("-inf"), tl.float32)
    total = tl.zeros([BLOCK_ROW], tl.float32)
    mixed = tl.zeros([BLOCK_ROW, BLOCK_DIM], tl.float32)
    length = prompt
    if context_length_ptr is not None:
        length = tl.load(context_length_ptr + request * stride_context_length_batch)
    # Chunks of a program's rows lie [batch * kv_head, chunk, row, dim], peaks [.., row, 2].
    chunks = tl.cdiv(prompt, CHUNK_KEYS)
    first_row = tl.program_id(1).to(tl.int64) * chunks * rows + row
    begin_key, end_key = 0, length
    if CONTEXT == "chunk":
        begin_key = tl.program_id(2) * CHUNK_KEYS
        end_key = tl.minimum(length, begin_key + CHUNK_KEYS)
    if CONTEXT == "merge":
        for chunk in range(tl.cdiv(length, CHUNK_KEYS)):
            at = first_row + chunk * rows
            peak = tl.load(peak_ptr + 2 * at, mask=row < rows, other=0.0)
            weight = tl.load(peak_ptr + 2 * at + 1, mask=row < rows, other=1.0)
            part = tl.load(partial_ptr + at[:, None] * head_dim + dim, mask=inside, other=0.0)
            maximum, shift, shrunk = rescaled(maximum, peak, scale)
            grown = tl.exp2(scale * (peak - shift))
            total = total * shrunk + weight * grown
            mixed = mixed * shrunk[:, None] + part * grown[:, None]
    elif context_key_ptr is not None:
        context_key_ptr += request * stride_context_key_batch + kv_head * stride_context_key_head
        context_value_ptr += (
            request * stride_context_value_batch + kv_head * stride_context_value_head
        )
        maximum, total, mixed = attend(
            query,
            context_key_ptr,
            context_value_ptr,
            stride_context_key_prompt,
            stride_context_value_prompt,
            begin_key,
            end_key,
            end_key,
            head_dim,
            scale,
            DOT_IN_F32,
            BLOCK_ROW,
            BLOCK_KEY,
            BLOCK_DIM,
        )
    if CONTEXT == "chunk":
        at = first_row + tl.program_id(2) * rows
        tl.store(peak_ptr + 2 * at, maximum, mask=row < rows)
        tl.store(peak_ptr + 2 * at + 1, total, mask=row < rows)
        tl.store(partial_ptr + at[:, None] * head_dim + dim, mixed, mask=inside)
        return
    if own_key_ptr is not None:
        own_key_ptr += request * stride_own_key_batch + kv_head * stride_own_key_head
        own_value_ptr += request * stride_own_value_batch + kv_head * stride_own_value_head
        ancestry_ptr += request * stride_ancestry_batch + beam * stride_ancestry_beam
        for step in range(steps):
            ancestor_ptr = ancestry_ptr + step * stride_ancestry_step
            ancestor = tl.load(ancestor_ptr, mask=row < rows, other=0).to(tl.int64)
            made_at = step * stride_own_key_step + ancestor * stride_own_key_beam
            key = tl.load(own_key_ptr + made_at[:, None] + dim[None, :], mask=inside, other=0.0)
            made_at = step * stride_own_value_step + ancestor * stride_own_value_beam
            value = tl.load(own_value_ptr + made_at[:, None] + dim[None, :], mask=inside, other=0.0)
            score = tl.sum(query.to(tl.float32) * key.to(tl.float32), axis=1)
            maximum, shift, shrunk = rescaled(maximum, score, scale)
            weight = tl.exp2(scale * (score - shift))
            total = total * shrunk + weight
            mixed = mixed * shrunk[:, None] + weight[:, None] * value.to(tl.float32)
    # Without a key the answer is zeros; with keys, a sum of zero is a NaN of the inputs.
    nothing = (length == 0) & (steps == 0)
    mixed = tl.where(nothing, 0.0, mixed / tl.where(nothing, 1.0, total)[:, None])
    at = request * stride_out_batch + beam * stride_out_beam + head * head_dim
    narrow = mixed.to(out_ptr.dtype.element_ty)
    tl.store(out_ptr + at[:, None] + dim[None, :], narrow, mask=inside)


def beam_attention(
    query: torch.Tensor,
    context_key: torch.Tensor | None,
    context_value: torch.Tensor | None,
    context_length: torch.Tensor | None,
    own_key: torch.Tensor | None,
    own_value: torch.Tensor | None,
    ancestry: torch.Tensor | None,
    scale: float | None,
    out: torch.Tensor,
) -> None:
    """Writes softmax(scale * query keys^T) values of every beam and head into `out`."""
    context = (context_key, context_value, context_length)
    own = (own_key, own_value, ancestry)
    scale = _C.check_beam_attention(query, *context, *own, scale, out)
    if query.numel() == 0:
        return
    batch, beams, heads, head_dim = query.shape
    if context_key is not None:
        kv_heads, prompt = context_key.shape[1:3]
    else:
        assert own_key is not None  # checked
        kv_heads, prompt = own_key.shape[3], 0
    group = heads // kv_heads
    options = tile_options(query)
    tiles = triton.cdiv(beams * group, options["BLOCK_ROW"])
    chunks = triton.cdiv(prompt, _CHUNK_KEYS)
    partial, peak = None, None
    if tiles * kv_heads <= _FEW_PROGRAMS and chunks > 1:
        of_rows = (batch * kv_heads, chunks, beams * group)
        partial = query.new_empty(*of_rows, head_dim, dtype=torch.float32)
        peak = query.new_empty(*of_rows, 2, dtype=torch.float32)
    launches = [("whole", 1)] if partial is None else [("chunk", chunks), ("merge", 1)]
    for part, programs in launches:
        _beam_attention_kernel[(tiles, batch * kv_heads, programs)](
            query,
            *context,
            *own,
            partial,
            peak,
            out,
            scale * LOG2_E,
            beams * group,
            group,
            kv_heads,
            head_dim,
            prompt,
            0 if own_key is None else own_key.shape[1],
            *query.stride()[:3],
            *_strides(context_key, 3),
            *_strides(context_value, 3),
            *_strides(context_length, 1),
            *_strides(own_key, 4),
            *_strides(own_value, 4),
            *_strides(ancestry, 3),
            *out.stride()[:2],
            CONTEXT=part,
            CHUNK_KEYS=_CHUNK_KEYS,
            **options,
        )


def _strides(tensor: torch.Tensor | None, axes: int) -> tuple[int, ...]:
    return (0,) * axes if tensor is None else tensor.stride()[:axes]


IMPLEMENTATION = Implementation(
    backend="triton",
    device_types=DEVICE_TYPES,
    dtypes=DTYPES,
    why_not=why_not,
    function=beam_attention,
)
