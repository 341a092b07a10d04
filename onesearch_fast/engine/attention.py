"""Attention of many beams over one shared context, and over the few tokens each beam has made."""

from __future__ import annotations

import torch

from onesearch_fast.models.linear import batched_product

# Scores of one chunk stay within this many numbers (8 MiB in float32): they are written and read
# back by softmax and by the second product, which is fastest from the processor's last cache.
_CHUNK_SCORES = 1 << 21


def shared_context_attention(
    query: torch.Tensor,
    context_key: torch.Tensor,
    context_value: torch.Tensor,
    context_bias: torch.Tensor | None = None,
    tail_key: torch.Tensor | None = None,
    tail_value: torch.Tensor | None = None,
) -> torch.Tensor:
    """softmax([q K_context^T + bias, q K_tail^T] / sqrt(head_dim)) [V_context; V_tail], per beam.

    The context of a request is read once per kv head for all its beams: beams x query group are the
    rows of one product. It is never expanded to beams.

    Args:
        query: [batch, beam, head, head_dim].
        context_key, context_value: [batch, kv_head, prompt, head_dim], contiguous.
        context_bias: [batch, prompt], 0 or -inf where the prompt is padding; None without padding.
        tail_key, tail_value: [batch, beam, step, kv_head, head_dim], what each beam has made.

    Returns:
        [batch, beam, head * head_dim] in the dtype of `query`.

    Cost: 4 batch * beam * head * (prompt + step) * head_dim flops; scores are held in chunks.
    """
    batch, beams, heads, head_dim = query.shape
    kv_heads, prompt = context_key.shape[1:3]
    grouped = query.reshape(batch, beams, kv_heads, heads // kv_heads, head_dim)
    grouped = grouped * head_dim**-0.5
    folded = grouped.transpose(1, 2).reshape(batch * kv_heads, -1, head_dim)
    tail_scores = None if tail_key is None else _tail_scores(grouped, tail_key)
    mixed, tail_weights = _attend_in_chunks(
        folded,
        context_key.view(batch * kv_heads, prompt, head_dim),
        context_value.view(batch * kv_heads, prompt, head_dim),
        None if context_bias is None else context_bias.repeat_interleave(kv_heads, 0).unsqueeze(1),
        tail_scores,
    )
    result = mixed.view(batch, kv_heads, beams, -1, head_dim).transpose(1, 2)
    if tail_value is not None and tail_weights is not None:
        weights = tail_weights.view(batch, kv_heads, beams, heads // kv_heads, -1, 1)
        by_step = weights.permute(0, 2, 4, 1, 3, 5)
        result = result + (by_step * tail_value.unsqueeze(4)).sum(2)
    return result.reshape(batch, beams, heads * head_dim)


def _tail_scores(grouped: torch.Tensor, tail_key: torch.Tensor) -> torch.Tensor:
    """Scores of each query against its own past: [batch * kv_head, beam * group, step].

    grouped [batch, beam, kv_head, group, dim], tail_key [batch, beam, step, kv_head, dim].
    """
    products = (grouped.unsqueeze(2) * tail_key.unsqueeze(4)).sum(-1)
    steps = products.shape[2]
    return products.permute(0, 3, 1, 4, 2).reshape(grouped.shape[0] * grouped.shape[2], -1, steps)


def _attend_in_chunks(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    bias: torch.Tensor | None,
    tail_scores: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Attention per batch row over the context, its softmax shared with the scores of the tail.

    query [rows, queries, dim], key and value [rows, prompt, dim], bias [rows, 1, prompt],
    tail_scores [rows, queries, step] -> context part [rows, queries, dim], tail weights.
    """
    rows, queries, _ = query.shape
    prompt = key.shape[1]
    steps = 0 if tail_scores is None else tail_scores.shape[2]
    mixed = torch.empty_like(query)
    tail_weights = None if tail_scores is None else torch.empty_like(tail_scores)
    size = max(1, _CHUNK_SCORES // (queries * (prompt + steps)))
    for begin in range(0, rows, size):
        chunk = slice(begin, begin + size)
        scores = query.new_empty(len(query[chunk]), queries, prompt + steps)
        inside = scores[..., :prompt]
        batched_product(query[chunk], key[chunk].transpose(1, 2), inside)
        if bias is not None:
            inside += bias[chunk]
        if tail_scores is not None:
            scores[..., prompt:] = tail_scores[chunk]
        weights = torch.softmax(scores, -1)
        batched_product(weights[..., :prompt], value[chunk], mixed[chunk])
        if tail_weights is not None:
            tail_weights[chunk] = weights[..., prompt:]
    return mixed, tail_weights
