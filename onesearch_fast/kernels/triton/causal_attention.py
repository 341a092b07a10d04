"""`causal_attention` in Triton: tokens and heads that read one KV head are rows of a product."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from onesearch_fast import _C
from onesearch_fast.kernels.triton._attention import LOG2_E, attend, load_queries, tile_options
from onesearch_fast.kernels.triton._support import DEVICE_TYPES, DTYPES, why_not
from onesearch_fast.registry import Implementation


@triton.jit(do_not_specialize=("tokens", "prompt"))
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
    request, kv_head, _, token, head, inside, query = load_queries(
        query_ptr,
        tokens * group,
        group,
        kv_heads,
        head_dim,
        stride_query_batch,
        stride_query_token,
        stride_query_head,
        DOT_IN_F32,
        BLOCK_ROW,
        BLOCK_DIM,
    )
    # Every row sees the first key, rows past the last token too, so no sum is 0.
    visible = tl.minimum(prompt - tokens + token + 1, prompt).to(tl.int32)
    _, total, mixed = attend(
        query,
        key_ptr + request * stride_key_batch + kv_head * stride_key_head,
        value_ptr + request * stride_value_batch + kv_head * stride_value_head,
        stride_key_prompt,
        stride_value_prompt,
        0,
        tl.max(visible, axis=0),
        visible[:, None],
        head_dim,
        scale,
        DOT_IN_F32,
        BLOCK_ROW,
        BLOCK_KEY,
        BLOCK_DIM,
    )
    dim = tl.arange(0, BLOCK_DIM)
    at = request * stride_out_batch + token * stride_out_token + head * head_dim
    narrow = (mixed / total[:, None]).to(out_ptr.dtype.element_ty)
    tl.store(out_ptr + at[:, None] + dim[None, :], narrow, mask=inside)


def causal_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scale: float | None,
    out: torch.Tensor,
) -> None:
    """Writes what each token mixes of the values up to itself into `out`."""
    scale = _C.check_causal_attention(query, key, value, scale, out)
    if query.numel() == 0:
        return
    batch, tokens, heads, head_dim = query.shape
    kv_heads, prompt = key.shape[1:3]
    group = heads // kv_heads
    options = tile_options(query)
    tiles = triton.cdiv(tokens * group, options["BLOCK_ROW"])
    _causal_attention_kernel[(tiles, batch * kv_heads)](
        query,
        key,
        value,
        out,
        scale * LOG2_E,
        tokens,
        group,
        kv_heads,
        head_dim,
        prompt,
        *query.stride()[:3],
        *key.stride()[:3],
        *value.stride()[:3],
        *out.stride()[:2],
        **options,
    )


IMPLEMENTATION = Implementation(
    backend="triton",
    device_types=DEVICE_TYPES,
    dtypes=DTYPES,
    why_not=why_not,
    function=causal_attention,
)
