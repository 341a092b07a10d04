"""Causal self-attention of a prompt's tokens: contract, checks, choice of an implementation."""

from __future__ import annotations

import torch

from onesearch_fast.ops import _library
from onesearch_fast.ops._arguments import choose
from onesearch_fast.ops.beam_attention import TOLERANCE
from onesearch_fast.registry import Operator

OPERATOR = Operator(
    name="causal_attention",
    axes={
        "query": ("batch", "token", "head", "head_dim"),
        "key": ("batch", "kv_head", "prompt", "head_dim"),
        "value": ("batch", "kv_head", "prompt", "head_dim"),
        "out": ("batch", "token", "head * head_dim"),
    },
    dtypes=tuple(TOLERANCE),
    tolerance=TOLERANCE,
    exact=(),
)


def causal_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *,
    scale: float | None = None,
    out: torch.Tensor | None = None,
    backend: str | None = None,
) -> torch.Tensor:
    """Attention of the last tokens of a prompt, each to itself and what stands before it.

    For token t of `query`, which is token s = prompt - token + t of its prompt, and head h, which
    reads kv head g = h // (head / kv_head):

        out[b, t, h] = softmax(scale * query[b, t, h] key[b, g, :s + 1]^T) value[b, g, :s + 1]

    One pass with running maximum and sum in float32; no mask, and scores of one block of keys at a
    time.

    Args:
        query: [batch, token, head, head_dim] float32, bfloat16 or float16; head_dim at most 512,
            fastest as a multiple of 8; head a multiple of kv_head. The last axis of all tensors is
            contiguous, the others have any strides.
        key, value: [batch, kv_head, prompt, head_dim] in the dtype of `query`; at least as many as
            tokens. All must be finite: what a token does not see has weight zero. Prompts of
            unequal length are filled up on the right, where no token of theirs looks.
        scale: finite and above 0; default head_dim ** -0.5.
        out: memory to fill and return instead of allocating; shares none with the inputs.
        backend: "cpu", "cuda", "triton" or "torch"; None for the best available.

    Returns:
        `out`, or a new tensor: [batch, token, head * head_dim] in the dtype of `query`.

    Raises:
        TypeError: an argument of the wrong type or dtype.
        ValueError: a wrong shape, stride, device or range, or, with gradients enabled, a tensor
            that requires grad.
        BackendUnavailable: the named backend cannot run here; the message says why.

    Cost: 2 batch * head * head_dim * token * (2 prompt - token) flops. On a CPU the same bits for a
    token, whether the tokens before it are read with it or earlier, whatever the batch neighbours
    and the number of threads. Not differentiable.
    Source: running softmax after Milakov and Gimelshein 2018 (arXiv 1805.02867), tiles after Dao et
    al. 2022 (arXiv 2205.14135).
    """
    if out is None and torch.compiler.is_compiling():
        traced: torch.Tensor = torch.ops.onesearch.causal_attention(
            query, key, value, scale, backend
        )
        return traced
    compute = choose(OPERATOR, "query", query, backend)
    if out is None:
        batch, tokens, heads, head_dim = query.shape
        out = query.new_empty(batch, tokens, heads * head_dim)
    compute(query, key, value, scale, out)
    return out


_library.define(
    "causal_attention(Tensor query, Tensor key, Tensor value, float? scale, str? backend)"
    " -> Tensor",
    lambda *arguments: causal_attention(*arguments[:3], scale=arguments[3], backend=arguments[4]),
    lambda query, *_: query.new_empty(*query.shape[:2], query.shape[2] * query.shape[3]),
)
