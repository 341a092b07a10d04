"""The reference of `constrained_beam_step`: one beam after the other, in plain torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from onesearch_fast import _C
from onesearch_fast.registry import Implementation

if TYPE_CHECKING:
    from onesearch_fast.index.item_filter import ItemFilter
    from onesearch_fast.index.sid_trie import SidTrie
    from onesearch_fast.ops.constrained_beam_step import BeamStepOptions, BeamStepResult


class _Candidates(NamedTuple):
    key: torch.Tensor
    score: torch.Tensor
    parent: torch.Tensor
    token: torch.Tensor
    node: torch.Tensor
    eligible: torch.Tensor  # within the quota of its parent


_NO_IDS = torch.empty(0, dtype=torch.int64)
_NONE = _Candidates(
    *(torch.empty(0), torch.empty(0)), *(_NO_IDS,) * 3, torch.empty(0, dtype=torch.bool)
)


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
    for request in range(logits.shape[0]):
        own_trie = trie[request] if isinstance(trie, Sequence) else trie
        own_filter = filter[request] if isinstance(filter, Sequence) else filter
        candidates, lost = [_NONE], -math.inf
        for beam in range(logits.shape[1]):
            beam_score = beam_scores[request, beam]
            if not _is_alive(options, request, beam, beam_score):
                continue
            token, child = _children(own_trie, level, int(node[request, beam]))
            row = logits[request, beam].float()
            given = None if log_normalizer is None else log_normalizer[request, beam]
            log_z = _log_normalizer(normalizer, row, token, given)
            allowed = _allowed(own_filter, level + 1, child)
            if allowed.any() and not log_z.isfinite():
                lost = max(lost, float(beam_score))
            score = beam_score + (row[token] - log_z)
            kept = score.isfinite() & allowed
            siblings = (score[kept], token[kept], child[kept])
            candidates.append(_by_rules(options, request, beam, *siblings))
        joined = _Candidates(*(torch.cat(parts) for parts in zip(*candidates, strict=True)))
        _write(joined, lost, _width(options, request, num_beams), request, out)


def _write(
    candidates: _Candidates, lost: float, width: int, request: int, out: BeamStepResult
) -> None:
    # They stand in (parent, token) order, which a stable sort keeps among equal keys.
    order = candidates.key.argsort(descending=True, stable=True)
    best = order[candidates.eligible[order]][:width]
    count = len(best)
    columns = (
        (out.scores, candidates.score, -math.inf),
        (out.parent_beam, candidates.parent, -1),
        (out.tokens, candidates.token, -1),
        (out.node, candidates.node, -1),
        (out.perturbed, candidates.key, -math.inf),
    )
    for column, values, padding in columns:
        if column is not None:
            column[request, :count] = values[best]
            column[request, count:] = padding
    out.count[request] = count
    dropped = torch.ones(len(order), dtype=torch.bool)
    dropped[best] = False
    out.best_dropped[request] = max([lost, *candidates.score[dropped].tolist()])


def _width(options: BeamStepOptions | None, request: int, num_beams: int) -> int:
    if options is None or options.beam_widths is None:
        return num_beams
    return int(options.beam_widths[request])


def _is_alive(
    options: BeamStepOptions | None, request: int, beam: int, score: torch.Tensor
) -> bool:
    noise = None if options is None else options.gumbel
    return math.isfinite(score) and (noise is None or math.isfinite(noise.perturbed[request, beam]))


def _by_rules(
    options: BeamStepOptions | None,
    request: int,
    beam: int,
    score: torch.Tensor,
    token: torch.Tensor,
    node: torch.Tensor,
) -> _Candidates:
    """The candidates of one beam, by token, with the keys that the options give them."""
    weight = score.clone()
    if options is not None and options.node_prior is not None:
        weight += options.node_prior[node]
    if options is not None and options.sibling_penalty:
        rank = score.argsort(descending=True, stable=True).argsort()
        weight -= torch.tensor(options.sibling_penalty) * rank
    finite = weight.isfinite()
    score, weight, token, node = score[finite], weight[finite], token[finite], node[finite]
    if options is not None and options.gumbel is not None:
        parent = float(options.gumbel.perturbed[request, beam])
        seed = int(options.gumbel.seeds[request])
        path = options.gumbel.path[request, beam].tolist()
        weight = _condition(weight.double() + _gumbel(seed, path, token), parent).float()
    eligible = torch.ones(len(weight), dtype=torch.bool)
    if options is not None and options.max_children_per_parent is not None:
        best = weight.argsort(descending=True, stable=True)
        eligible[best[options.max_children_per_parent :]] = False
    return _Candidates(weight, score, torch.full_like(token, beam), token, node, eligible)


def _condition(noisy: torch.Tensor, parent: float) -> torch.Tensor:
    """Kool et al. 2019, appendix B.3: moved so that the largest is `parent`."""
    if not len(noisy):
        return noisy
    v = parent - noisy + torch.log1p(-torch.exp(noisy - noisy.max()))
    return parent - v.clamp(min=0) - torch.log1p(torch.exp(-v.abs()))


_GOLDEN = 0x9E3779B97F4A7C15
_WORD = 2**64 - 1


def _mix(x: int) -> int:
    """The finaliser of SplitMix64."""
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _WORD
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _WORD
    return x ^ (x >> 31)


def _gumbel(seed: int, path: list[int], tokens: torch.Tensor) -> torch.Tensor:
    """float64 noise of the children of `path`, by a hash of the seed and their codes."""
    prefix = _mix(seed & _WORD)
    for code in path:
        prefix = _mix((prefix + _GOLDEN * (code + 1)) & _WORD)
    hashes = [_mix((prefix + _GOLDEN * (token + 1)) & _WORD) for token in tokens.tolist()]
    uniform = torch.tensor([(x >> 11) + 0.5 for x in hashes], dtype=torch.float64) * 2.0**-53
    return -(-uniform.log()).log()


def _children(trie: SidTrie, level: int, node: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens and nodes of the children of `node`, by token; none for a dead beam."""
    tokens, _ = trie.children(level, [node])
    if hasattr(trie, "child_range"):  # a trie's are consecutive, a snapshot's are not
        begin, end = (int(edge[0]) for edge in trie.child_range(level, [node]))
        nodes = np.arange(begin, end)
    else:
        nodes = trie.child(level, np.full(len(tokens), node), tokens)
    # An unverified trie may hold tokens past the level's size, which lead nowhere.
    inside = tokens < trie.level_sizes[level]
    return torch.from_numpy(tokens[inside]).long(), torch.from_numpy(nodes[inside])


def _allowed(item_filter: ItemFilter | None, level: int, nodes: torch.Tensor) -> torch.Tensor:
    if item_filter is None:
        return torch.ones(len(nodes), dtype=torch.bool)
    return torch.from_numpy(item_filter.allows(level, nodes.numpy()))


def _log_normalizer(
    normalizer: str, row: torch.Tensor, child_tokens: torch.Tensor, given: torch.Tensor | None
) -> torch.Tensor:
    """What is taken off each logit; NaN, which leaves no finite score, for a dead row."""
    if given is not None:
        return given
    # float64, so that the reference's own rounding takes nothing of the tolerance.
    whole = row.double().logsumexp(0)
    if whole.isnan() or whole == math.inf:
        return torch.tensor(math.nan)
    if normalizer == "level":
        return whole.float()
    if normalizer == "children":
        return row[child_tokens].double().logsumexp(0).float()
    return torch.tensor(0.0)


IMPLEMENTATION = Implementation(
    backend="torch",
    device_types=("cpu",),
    dtypes=(torch.float32, torch.bfloat16, torch.float16),
    why_not=lambda: None,
    function=constrained_beam_step,
)
