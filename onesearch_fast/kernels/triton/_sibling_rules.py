"""What options make of a step's candidates: the rules of csrc/ops/constrained_beam_step.

Ranks among siblings need a sort of each beam's children, so all is torch's operations over whole
tensors: some 70 of them for a quota or a penalty, 150 for noise; none has the host wait.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from onesearch_fast.ops.constrained_beam_step import (
        BeamStepOptions,
        BeamStepResult,
        GumbelNoise,
    )

# Below every key.
NO_KEY = -(2**63)
# Of core/hash.h, as signed integers.
_GOLDEN = 0x9E3779B97F4A7C15 - 2**64
_FACTORS = ((30, 0xBF58476D1CE4E5B9 - 2**64), (27, 0x94D049BB133111EB - 2**64))
_LOW = 0xFFFFFFFF


def select_by_rules(
    keys: torch.Tensor,
    nodes: torch.Tensor,
    lost: torch.Tensor,
    num_beams: int,
    options: BeamStepOptions,
    out: BeamStepResult,
) -> None:
    """Writes the survivors of candidates whose keys hold their scores.

    Args:
        keys: [batch, beam_in, fan_out] int64, children of a beam by token; NO_KEY for none.
        nodes: int32, where each leads to; anything where there is none.
        lost: [batch, beam_in] float32, scores of beams whose rows are dead; -inf for others.

    Cost: about 100 bytes of memory a slot at a time, two sorts of each beam's slots.
    """
    # Also of NO_KEY, whose bits are those of a NaN.
    score = _float_of(keys >> 32)
    alive = score.isfinite()
    weight = _weights(score, alive, nodes, options)
    alive &= weight.isfinite()
    if options.gumbel is not None:
        heard = options.gumbel.perturbed.isfinite()
        lost = torch.where(heard, lost, -math.inf)
        alive &= heard.unsqueeze(2)
        weight = _perturbed(weight, alive, _tokens(keys), options.gumbel)
    most = options.max_children_per_parent
    eligible = alive if most is None else alive & (_ranks(weight, alive) < most)
    ordered = torch.where(eligible, _ordered(weight) << 32 | keys & _LOW, NO_KEY).flatten(1)
    best, slot = ordered.topk(min(num_beams, ordered.shape[1]))
    place = torch.arange(best.shape[1], device=best.device)
    kept = best != NO_KEY
    if options.beam_widths is not None:
        kept &= place < options.beam_widths.unsqueeze(1)
    columns = (
        (out.scores, score.flatten(1).gather(1, slot), -math.inf),
        (out.parent_beam, (_LOW - (best & _LOW)) >> 16, -1),
        (out.tokens, _tokens(best), -1),
        (out.node, nodes.flatten(1).gather(1, slot), -1),
        (out.perturbed, _float_of(best >> 32), -math.inf),
    )
    for column, values, padding in columns:
        if column is not None:
            column.fill_(padding)
            column[:, : best.shape[1]] = torch.where(kept, values, padding)
    out.count.copy_(kept.sum(1))
    survives = torch.zeros_like(ordered, dtype=torch.bool).scatter_(1, slot, kept)
    dropped = alive.flatten(1) & ~survives
    best_dropped = torch.where(dropped, score.flatten(1), -math.inf).amax(1)
    out.best_dropped.copy_(best_dropped.maximum(lost.amax(1)))


def _weights(
    score: torch.Tensor, alive: torch.Tensor, nodes: torch.Tensor, options: BeamStepOptions
) -> torch.Tensor:
    weight = score
    if options.node_prior is not None:
        weight = weight + options.node_prior[torch.where(alive, nodes, 0)]
    if options.sibling_penalty:
        # In float32, as on the CPU.
        penalty = torch.full_like(score, options.sibling_penalty)
        weight = weight - penalty * _ranks(score, alive)
    return weight


def _ranks(value: torch.Tensor, alive: torch.Tensor) -> torch.Tensor:
    """Of each slot among its beam's, from 0; ties to the lower token, the dead last."""
    ranked = torch.where(alive, value, -math.inf)
    return ranked.argsort(dim=2, descending=True, stable=True).argsort(dim=2)


def _perturbed(
    weight: torch.Tensor, alive: torch.Tensor, tokens: torch.Tensor, gumbel: GumbelNoise
) -> torch.Tensor:
    """Kool et al. 2019, appendix B.3: noisy, then moved so that the largest is the parent's."""
    path = _mixed(gumbel.seeds).unsqueeze(1)
    for codes in gumbel.path.unbind(2):
        path = _extended(path, codes)
    noise = _gumbel_of(_extended(path.unsqueeze(2), tokens))
    noisy = torch.where(alive, weight.double() + noise, -math.inf)
    parent = gumbel.perturbed.double().unsqueeze(2)
    v = parent - noisy + torch.log1p(-torch.exp(noisy - noisy.amax(2, keepdim=True)))
    return (parent - v.clamp(min=0) - torch.log1p(torch.exp(-v.abs()))).float()


def _gumbel_of(path: torch.Tensor) -> torch.Tensor:
    uniform = (_shifted(path, 11).double() + 0.5) * 2.0**-53
    return -(-uniform.log()).log()


def _extended(path: torch.Tensor, code: torch.Tensor) -> torch.Tensor:
    return _mixed(path + _GOLDEN * ((code.long() & _LOW) + 1))


def _mixed(x: torch.Tensor) -> torch.Tensor:
    """The finaliser of SplitMix64; products of int64 wrap."""
    for bits, factor in _FACTORS:
        x = (x ^ _shifted(x, bits)) * factor
    return x ^ _shifted(x, 31)


def _shifted(x: torch.Tensor, bits: int) -> torch.Tensor:
    """To the right, as of an unsigned integer."""
    return x >> bits & (1 << (64 - bits)) - 1


def _tokens(keys: torch.Tensor) -> torch.Tensor:
    return _LOW - (keys & _LOW) & 0xFFFF


def _ordered(value: torch.Tensor) -> torch.Tensor:
    """int64 in the order of the floats; adding 0 makes -0 and +0 one."""
    bits = (value + 0.0).view(torch.int32)
    return torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits).long()


def _float_of(ordered: torch.Tensor) -> torch.Tensor:
    bits = ordered.int()
    return torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits).view(torch.float32)
