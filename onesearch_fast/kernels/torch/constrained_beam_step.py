"""The reference of `constrained_beam_step`: one beam after the other, in plain torch."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import torch

from onesearch_fast.registry import Implementation

if TYPE_CHECKING:
    from onesearch_fast.index.item_filter import ItemFilter
    from onesearch_fast.index.sid_trie import SidTrie
    from onesearch_fast.ops.constrained_beam_step import BeamStepResult


class _Candidates(NamedTuple):
    score: torch.Tensor
    parent: torch.Tensor
    token: torch.Tensor
    node: torch.Tensor


_NO_IDS = torch.empty(0, dtype=torch.int64)
_NONE = _Candidates(torch.empty(0), _NO_IDS, _NO_IDS, _NO_IDS)


def constrained_beam_step(
    logits: torch.Tensor,
    node: torch.Tensor,
    beam_scores: torch.Tensor,
    trie: SidTrie,
    num_beams: int,
    level: int,
    normalizer: str,
    log_normalizer: torch.Tensor | None,
    filters: tuple[ItemFilter | None, ...] | None,
    out: BeamStepResult,
) -> None:
    """Writes the best `num_beams` extensions of each request's beams into `out`."""
    out.scores.fill_(-math.inf)
    for ids in (out.parent_beam, out.tokens, out.node):
        ids.fill_(-1)
    for request in range(logits.shape[0]):
        item_filter = None if filters is None else filters[request]
        candidates = [_NONE]
        for beam in range(logits.shape[1]):
            token, child = _children(trie, level, int(node[request, beam]))
            row = logits[request, beam].float()
            given = None if log_normalizer is None else log_normalizer[request, beam]
            log_z = _log_normalizer(normalizer, row, token, given)
            score = beam_scores[request, beam] + (row[token] - log_z)
            kept = score.isfinite() & _allowed(item_filter, level + 1, child)
            parent = torch.full_like(token, beam)
            candidates.append(_Candidates(score[kept], parent[kept], token[kept], child[kept]))
        best = _best(candidates, num_beams)
        count = out.count[request] = len(best.score)
        out.scores[request, :count] = best.score
        out.parent_beam[request, :count] = best.parent
        out.tokens[request, :count] = best.token
        out.node[request, :count] = best.node


def _best(candidates: list[_Candidates], num_beams: int) -> _Candidates:
    joined = _Candidates(*(torch.cat(parts) for parts in zip(*candidates, strict=True)))
    # They stand in (parent, token) order, which a stable sort keeps among equal scores.
    order = joined.score.argsort(descending=True, stable=True)[:num_beams]
    return _Candidates(*(column[order] for column in joined))


def _children(trie: SidTrie, level: int, node: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens and nodes of the children of `node`, by token; none for a dead beam."""
    begin, end = (int(edge[0]) for edge in trie.child_range(level, [node]))
    token = torch.from_numpy(trie.children(level, [node])[0]).long()
    # An unverified trie may hold tokens past the level's size, which lead nowhere.
    inside = token < trie.level_sizes[level]
    return token[inside], torch.arange(begin, end)[inside]


def _allowed(item_filter: ItemFilter | None, level: int, nodes: torch.Tensor) -> torch.Tensor:
    if item_filter is None:
        return torch.ones(len(nodes), dtype=torch.bool)
    return torch.from_numpy(item_filter.allows(level, nodes.numpy()))


def _log_normalizer(
    normalizer: str, row: torch.Tensor, child_tokens: torch.Tensor, given: torch.Tensor | None
) -> torch.Tensor:
    """What is taken off each logit; NaN, which leaves no finite score, for a dead row."""
    # float64, so that the reference's own rounding takes nothing of the tolerance.
    whole = row.double().logsumexp(0)
    if whole.isnan() or whole == math.inf:
        return torch.tensor(math.nan)
    if normalizer == "level":
        return whole.float()
    if normalizer == "children":
        return row[child_tokens].double().logsumexp(0).float()
    return torch.tensor(0.0) if given is None else given


IMPLEMENTATION = Implementation(
    backend="torch",
    device_types=("cpu",),
    dtypes=(torch.float32, torch.bfloat16, torch.float16),
    why_not=lambda: None,
    function=constrained_beam_step,
)
