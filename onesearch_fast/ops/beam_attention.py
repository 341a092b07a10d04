"""Attention of beams over a shared context and over what each beam has made: contract, checks."""

from __future__ import annotations

import torch

from onesearch_fast.ops import _library
from onesearch_fast.ops._arguments import choose
from onesearch_fast.registry import Operator, Tolerance

# Half-width results are rounded once; in bfloat16 the weights of the values are rounded too.
TOLERANCE = {
    torch.float32: Tolerance(1e-5, 1e-5),
    torch.bfloat16: Tolerance(1e-2, 1e-2),
    torch.float16: Tolerance(1e-3, 1e-4),
}

OPERATOR = Operator(
    name="beam_attention",
    axes={
        "query": ("batch", "beam", "head", "head_dim"),
        "context_key": ("batch", "kv_head", "prompt", "head_dim"),
        "context_value": ("batch", "kv_head", "prompt", "head_dim"),
        "context_length": ("batch",),
        "own_key": ("batch", "step", "own_beam", "kv_head", "head_dim"),
        "own_value": ("batch", "step", "own_beam", "kv_head", "head_dim"),
        "ancestry": ("batch", "beam", "step"),
        "out": ("batch", "beam", "head * head_dim"),
    },
    dtypes=tuple(TOLERANCE),
    tolerance=TOLERANCE,
    exact=(),
)


def beam_attention(
    query: torch.Tensor,
    context_key: torch.Tensor | None = None,
    context_value: torch.Tensor | None = None,
    context_length: torch.Tensor | None = None,
    own_key: torch.Tensor | None = None,
    own_value: torch.Tensor | None = None,
    ancestry: torch.Tensor | None = None,
    *,
    scale: float | None = None,
    out: torch.Tensor | None = None,
    backend: str | None = None,
) -> torch.Tensor:
    """Attention of every beam over its request's context and over its own past.

    For beam w of request b and head h, which reads kv head g = h // (head / kv_head):

        K = [context_key[b, g, :context_length[b]]; own_key[b, t, ancestry[b, w, t], g] for each t]
        out[b, w, h] = softmax(scale * query[b, w, h] K^T) V        V likewise; zeros if K is empty

    One pass with running maximum and sum in float32. The context is read once for all beams and all
    heads of a group, never expanded to beams; own tokens are read where they were made.

    Args:
        query: [batch, beam, head, head_dim] float32, bfloat16 or float16; head_dim at most 512,
            fastest as a multiple of 8; head a multiple of kv_head. The last axis of this and of all
            other tensors is contiguous, the others have any strides.
        context_key, context_value: [batch, kv_head, prompt, head_dim] in the dtype of `query`; None
            without a context, as in a decoder's attention over its own tokens.
        context_length: [batch] int32 in [0, prompt], keys that each request sees; None for all.
        own_key, own_value: [batch, step, own_beam, kv_head, head_dim] in the dtype of `query`, what
            was made by each beam of each step; None without own tokens, as in cross-attention.
        ancestry: [batch, beam, step] int32 in [0, own_beam), the beam of each step that each beam
            descends from; required with own tokens. On a GPU values out of range, here and in
            `context_length`, are not looked for.
        scale: finite and above 0; default head_dim ** -0.5.
        out: memory to fill and return instead of allocating; shares none with the inputs.
        backend: "cpu", "triton" or "torch"; None for the best available.

    Returns:
        `out`, or a new tensor: [batch, beam, head * head_dim] in the dtype of `query`.

    Raises:
        TypeError: an argument of the wrong type or dtype.
        ValueError: a wrong shape, stride, device or range, neither context nor own tokens, or, with
            gradients enabled, a tensor that requires grad.
        BackendUnavailable: the named backend cannot run here; the message says why.

    Cost: 4 batch * beam * head * (prompt + step) * head_dim flops. The same bits for the same
    request, whatever its batch neighbours and the number of threads, on one backend. Not
    differentiable.
    Source: shared-prefix attention after Juravsky et al. 2024 (arXiv 2402.05099), running softmax
    after Milakov and Gimelshein 2018 (arXiv 1805.02867); the ancestry in place is ours.
    """
    if out is None and torch.compiler.is_compiling():
        context, own = (context_key, context_value, context_length), (own_key, own_value, ancestry)
        traced: torch.Tensor = torch.ops.onesearch.beam_attention(
            query, *context, *own, scale, backend
        )
        return traced
    compute = choose(OPERATOR, "query", query, backend)
    if out is None:
        batch, beams, heads, head_dim = query.shape
        out = query.new_empty(batch, beams, heads * head_dim)
    compute(
        query, context_key, context_value, context_length, own_key, own_value, ancestry, scale, out
    )
    return out


_library.define(
    "beam_attention(Tensor query, Tensor? context_key, Tensor? context_value,"
    " Tensor? context_length, Tensor? own_key, Tensor? own_value, Tensor? ancestry,"
    " float? scale, str? backend) -> Tensor",
    lambda *arguments: beam_attention(*arguments[:7], scale=arguments[7], backend=arguments[8]),
    lambda query, *_: query.new_empty(*query.shape[:2], query.shape[2] * query.shape[3]),
)
