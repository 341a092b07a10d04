"""`constrained_beam_step` in Triton: a program a beam scores its children, then one select.

Every candidate gets a key of its own, so the largest ones are one set in one order, whoever finds
them first. The select is torch's, over the keys; options that reorder come between the two.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

import torch
import triton
import triton.language as tl
from torch.nn.functional import pad

from onesearch_fast import _C
from onesearch_fast.kernels.triton._catalogue import allowed_on, level_on
from onesearch_fast.kernels.triton._sibling_rules import NO_KEY, select_by_rules
from onesearch_fast.kernels.triton._support import (
    DEVICE_TYPES,
    DTYPES,
    log_sum_exp_of_row,
    why_not,
)
from onesearch_fast.registry import Implementation

if TYPE_CHECKING:
    from onesearch_fast.index.item_filter import ItemFilter
    from onesearch_fast.index.sid_trie import SidTrie
    from onesearch_fast.ops.constrained_beam_step import BeamStepOptions, BeamStepResult

# Elements of a row, edges of a node or survivors of a request that a program holds at a time.
_BLOCK = 1024


@triton.jit
def _is_finite(x):
    return (x == x) & (tl.abs(x) != float("inf"))


@triton.jit
def _key_of(score, parent, token):
    """The order of csrc/core/ranking.h, as a signed integer."""
    # Adding 0 makes -0 and +0 one score, as they are one number.
    bits = (score + 0.0).to(tl.int32, bitcast=True)
    ordered = tl.where(bits < 0, bits ^ 0x7FFFFFFF, bits).to(tl.int64)
    return (ordered << 32) | (0xFFFFFFFF - (parent.to(tl.int64) << 16) - token.to(tl.int64))


@triton.jit
def _score_of(key):
    ordered = (key >> 32).to(tl.int32)
    bits = tl.where(ordered < 0, ordered ^ 0x7FFFFFFF, ordered)
    return bits.to(tl.float32, bitcast=True)


@triton.jit
def _log_sum_exp_of_edges(row_ptr, token_ptr, first, last, stride, BLOCK: tl.constexpr):
    """Of a row without NaN and +inf, over the tokens of edges [first, last)."""
    lanes = tl.arange(0, BLOCK)
    maximum = tl.full([BLOCK], float("-inf"), tl.float32)
    total = tl.zeros([BLOCK], tl.float32)
    for begin in range(first, last, BLOCK):
        edge = begin + lanes
        token = tl.load(token_ptr + edge, mask=edge < last, other=0).to(tl.int64)
        x = tl.load(row_ptr + token * stride, mask=edge < last, other=float("-inf"))
        x = x.to(tl.float32)
        higher = tl.maximum(maximum, x)
        shift = tl.where(higher == float("-inf"), 0.0, higher)
        total = total * tl.exp(maximum - shift) + tl.exp(x - shift)
        maximum = higher
    top = tl.max(maximum, axis=0)
    shift = tl.where(top == float("-inf"), 0.0, top)
    return top + tl.log(tl.sum(total * tl.exp(maximum - shift), axis=0))


# Sizes that differ between levels and catalogues and widen no read compile nothing anew.
@triton.jit(do_not_specialize=("beams", "num_nodes", "fan_out", "stride_key_batch"))
def _constrained_beam_step_kernel(
    logits_ptr,
    node_ptr,
    beam_scores_ptr,
    log_normalizer_ptr,
    first_edge_ptr,
    token_ptr,
    child_ptr,
    reaching_ptr,
    allowed_ptr,
    key_ptr,
    node_of_key_ptr,
    lost_ptr,
    beams,
    num_nodes,
    codes,
    fan_out,
    stride_logits_batch,
    stride_logits_beam,
    stride_logits_code,
    stride_node_batch,
    stride_node_beam,
    stride_beam_scores_batch,
    stride_beam_scores_beam,
    stride_log_normalizer_batch,
    stride_log_normalizer_beam,
    stride_key_batch,
    NORMALIZER: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Writes the keys of a beam's candidates, and the nodes they lead to, to its own slots.

    What is `lost` is the score of a beam whose row is dead: what lies below scores no more.
    """
    # One axis, the only one of a grid that goes beyond 65,535.
    request = (tl.program_id(0) // beams).to(tl.int64)
    beam = (tl.program_id(0) % beams).to(tl.int64)
    node = tl.load(node_ptr + request * stride_node_batch + beam * stride_node_beam)
    exists = (node >= 0) & (node < num_nodes)
    node = tl.where(exists, node, 0)
    first = tl.load(first_edge_ptr + node)
    last = tl.where(exists, tl.load(first_edge_ptr + node + 1), first)
    if first == last:
        return
    row_ptr = logits_ptr + request * stride_logits_batch + beam * stride_logits_beam
    if NORMALIZER == "vocab":
        at = request * stride_log_normalizer_batch + beam * stride_log_normalizer_beam
        log_z = tl.load(log_normalizer_ptr + at)
    else:
        # NaN and +inf anywhere in the row kill the beam, whatever it is normalised by.
        log_z = log_sum_exp_of_row(row_ptr, codes, stride_logits_code, BLOCK)
        if (log_z == log_z) & (log_z != float("inf")):
            if NORMALIZER == "children":
                log_z = _log_sum_exp_of_edges(
                    row_ptr, token_ptr, first, last, stride_logits_code, BLOCK
                )
            if NORMALIZER == "none":
                log_z = 0.0
    at = request * stride_beam_scores_batch + beam * stride_beam_scores_beam
    beam_score = tl.load(beam_scores_ptr + at)
    if not _is_finite(log_z):
        lost = beam_score
        if reaching_ptr is not None:
            lost = tl.where(tl.load(reaching_ptr + node) != 0, lost, float("-inf"))
        if _is_finite(lost):
            tl.store(lost_ptr + request * beams + beam, lost)
        return
    slot = request * stride_key_batch + beam * fan_out - first
    lanes = tl.arange(0, BLOCK)
    for begin in range(first, last, BLOCK):
        edge = begin + lanes
        inside = edge < last
        token = tl.load(token_ptr + edge, mask=inside, other=0)
        child = tl.load(child_ptr + edge, mask=inside, other=0)
        logit = tl.load(row_ptr + token.to(tl.int64) * stride_logits_code, mask=inside, other=0.0)
        score = beam_score + (logit.to(tl.float32) - log_z)
        kept = inside & _is_finite(score)
        if allowed_ptr is not None:
            kept &= tl.load(allowed_ptr + child, mask=inside, other=0) != 0
        tl.store(key_ptr + slot + edge, _key_of(score, beam, token), mask=kept)
        tl.store(node_of_key_ptr + slot + edge, child, mask=kept)


@triton.jit(
    do_not_specialize=(
        *("beams", "num_beams", "stride_key_batch", "stride_node_of_key_batch"),
        *("stride_scores_batch", "stride_parent_beam_batch"),
        *("stride_tokens_batch", "stride_node_batch"),
    )
)
def _unpack_beams_kernel(
    key_ptr,
    slot_ptr,
    node_of_key_ptr,
    beam_widths_ptr,
    lost_ptr,
    scores_ptr,
    parent_beam_ptr,
    tokens_ptr,
    node_ptr,
    count_ptr,
    best_dropped_ptr,
    beams,
    num_beams,
    stride_key_batch,
    stride_node_of_key_batch,
    stride_beam_widths_batch,
    stride_scores_batch,
    stride_scores_beam,
    stride_parent_beam_batch,
    stride_parent_beam_beam,
    stride_tokens_batch,
    stride_tokens_beam,
    stride_node_batch,
    stride_node_beam,
    stride_count_batch,
    stride_best_dropped_batch,
    NO_KEY: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Writes a request's survivors from its num_beams + 1 largest keys, the largest first."""
    request = tl.program_id(0).to(tl.int64)
    width = num_beams
    if beam_widths_ptr is not None:
        # What lies on a device cannot be checked before.
        own_width = tl.load(beam_widths_ptr + request * stride_beam_widths_batch)
        width = tl.minimum(tl.maximum(own_width, 0), num_beams)
    key_ptr += request * stride_key_batch
    slot_ptr += request * stride_key_batch
    node_of_key_ptr += request * stride_node_of_key_batch
    lanes = tl.arange(0, BLOCK)
    count = tl.zeros([BLOCK], tl.int32)
    for begin in range(0, num_beams, BLOCK):
        beam = (begin + lanes).to(tl.int64)
        inside = beam < num_beams
        key = tl.load(key_ptr + beam, mask=inside, other=NO_KEY)
        alive = (key != NO_KEY) & (beam < width)
        slot = tl.load(slot_ptr + beam, mask=alive, other=0)
        node = tl.load(node_of_key_ptr + slot, mask=alive, other=-1)
        parent_and_token = 0xFFFFFFFF - (key & 0xFFFFFFFF)
        parent = tl.where(alive, parent_and_token >> 16, -1).to(tl.int32)
        token = tl.where(alive, parent_and_token & 0xFFFF, -1).to(tl.int32)
        score = tl.where(alive, _score_of(key), float("-inf"))
        at = request * stride_scores_batch + beam * stride_scores_beam
        tl.store(scores_ptr + at, score, mask=inside)
        at = request * stride_parent_beam_batch + beam * stride_parent_beam_beam
        tl.store(parent_beam_ptr + at, parent, mask=inside)
        at = request * stride_tokens_batch + beam * stride_tokens_beam
        tl.store(tokens_ptr + at, token, mask=inside)
        at = request * stride_node_batch + beam * stride_node_beam
        tl.store(node_ptr + at, node, mask=inside)
        count += alive.to(tl.int32)
    tl.store(count_ptr + request * stride_count_batch, tl.sum(count, axis=0))
    next_key = tl.load(key_ptr + width)
    dropped = tl.where(next_key == NO_KEY, float("-inf"), _score_of(next_key))
    for begin in range(0, beams, BLOCK):
        beam = begin + lanes
        lost = tl.load(lost_ptr + request * beams + beam, mask=beam < beams, other=float("-inf"))
        dropped = tl.maximum(dropped, tl.max(lost, axis=0))
    tl.store(best_dropped_ptr + request * stride_best_dropped_batch, dropped)


def constrained_beam_step(
    logits: torch.Tensor,
    node: torch.Tensor,
    beam_scores: torch.Tensor,
    trie: SidTrie | Sequence[SidTrie],
    num_beams: int,
    level: int,
    normalizer: str,
    log_normalizer: torch.Tensor | None,
    filter: ItemFilter | Sequence[ItemFilter | None] | None,
    options: BeamStepOptions | None,
    out: BeamStepResult,
) -> None:
    """Writes the best `num_beams` extensions of each request's beams into `out`."""
    arguments = (logits, node, beam_scores, trie, num_beams, level, normalizer, log_normalizer)
    _C.check_constrained_beam_step(*arguments, filter, options, out)
    if logits.shape[0] == 0:
        return
    scored = _scored(logits, node, beam_scores, trie, level, normalizer, log_normalizer, filter)
    if options is not None and options.reorders:
        select_by_rules(*scored, num_beams, options, out)
        return
    _select(*scored, num_beams, None if options is None else options.beam_widths, out)
    if out.perturbed is not None:
        out.perturbed.copy_(out.scores)


def _scored(
    logits: torch.Tensor,
    node: torch.Tensor,
    beam_scores: torch.Tensor,
    trie: SidTrie | Sequence[SidTrie],
    level: int,
    normalizer: str,
    log_normalizer: torch.Tensor | None,
    filter: ItemFilter | Sequence[ItemFilter | None] | None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """`keys`, `nodes` and `lost` of `select_by_rules`."""
    batch, beams, codes = logits.shape
    searched = [
        (part, level_on(one, level, logits.device), own)
        for part, one, own in _searched_parts(trie, filter, batch)
    ]
    fan_out = max(of_level.fan_out for _, of_level, _ in searched)
    keys = logits.new_full((batch, beams, fan_out), NO_KEY, dtype=torch.int64)
    nodes = torch.empty_like(keys, dtype=torch.int32)
    lost = logits.new_full((batch, beams), -math.inf, dtype=torch.float32)
    for part, of_level, own in searched:
        own_normalizer = None if log_normalizer is None else log_normalizer[part]
        _constrained_beam_step_kernel[((part.stop - part.start) * beams,)](
            logits[part],
            node[part],
            beam_scores[part],
            own_normalizer,
            of_level.first_edge,
            of_level.token,
            of_level.child,
            None if own is None else allowed_on(own, level, logits.device),
            None if own is None else allowed_on(own, level + 1, logits.device),
            keys[part],
            nodes[part],
            lost[part],
            beams,
            len(of_level.first_edge) - 1,
            codes,
            fan_out,
            *logits.stride(),
            *node.stride(),
            *beam_scores.stride(),
            *((0, 0) if own_normalizer is None else own_normalizer.stride()),
            keys.stride(0),
            NORMALIZER=normalizer,
            BLOCK=_BLOCK,
        )
    return keys, nodes, lost


def _searched_parts(
    trie: SidTrie | Sequence[SidTrie],
    filter: ItemFilter | Sequence[ItemFilter | None] | None,
    batch: int,
) -> list[tuple[slice, SidTrie, ItemFilter | None]]:
    """Requests in a row that search the same, which one launch does for all of them."""
    if not isinstance(trie, Sequence) and not isinstance(filter, Sequence):
        return [(slice(0, batch), trie, filter)]
    tries = trie if isinstance(trie, Sequence) else [trie] * batch
    filters = filter if isinstance(filter, Sequence) else [filter] * batch
    parts = []
    for _, run in groupby(range(batch), lambda i: (id(tries[i]), id(filters[i]))):
        first, *others = run
        parts.append((slice(first, first + 1 + len(others)), tries[first], filters[first]))
    return parts


def _select(
    keys: torch.Tensor,
    nodes: torch.Tensor,
    lost: torch.Tensor,
    num_beams: int,
    widths: torch.Tensor | None,
    out: BeamStepResult,
) -> None:
    """Writes the survivors, arguments being as of `select_by_rules`."""
    slots = keys.flatten(1)
    missing = max(num_beams + 1 - slots.shape[1], 0)
    best, slot = pad(slots, (0, missing), value=NO_KEY).topk(num_beams + 1)
    _unpack_beams_kernel[(len(keys),)](
        best,
        slot,
        nodes,
        widths,
        lost,
        out.scores,
        out.parent_beam,
        out.tokens,
        out.node,
        out.count,
        out.best_dropped,
        lost.shape[1],
        num_beams,
        num_beams + 1,
        nodes.stride(0),
        0 if widths is None else widths.stride(0),
        *out.scores.stride(),
        *out.parent_beam.stride(),
        *out.tokens.stride(),
        *out.node.stride(),
        *out.count.stride(),
        *out.best_dropped.stride(),
        NO_KEY=NO_KEY,
        BLOCK=_BLOCK,
    )


IMPLEMENTATION = Implementation(
    backend="triton",
    device_types=DEVICE_TYPES,
    dtypes=DTYPES,
    why_not=why_not,
    function=constrained_beam_step,
)
