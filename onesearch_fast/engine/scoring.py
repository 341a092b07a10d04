"""Teacher-forced scores of given semantic IDs."""

from __future__ import annotations

import math

import torch

from onesearch_fast.engine.beam_search import SearchSpace
from onesearch_fast.engine.catalogues import Catalogues
from onesearch_fast.engine.decoding import (
    BeamDecoder,
    Prefilled,
    vocab_log_normalizer,
)
from onesearch_fast.engine.search_batch import SearchBatch
from onesearch_fast.models import DecoderModel
from onesearch_fast.ops.constrained_beam_step import BeamStepResult, constrained_beam_step

# SIDs are scored so many at a time.
CHUNK_SIDS = 512


@torch.inference_mode()
def score_codes(
    space: SearchSpace, batch: SearchBatch, codes: torch.Tensor, normalizer: str
) -> torch.Tensor:
    """The score that a search would give each SID: codes [batch, sid, level] -> [batch, sid].

    Each SID is a beam that is never re-parented. A row with a -1 scores -inf.
    """
    read = space.reader.read(space.model, batch.prompts).prefilled
    scores = [
        _score_chunk(space, batch.catalogues, read, chunk, normalizer)
        for chunk in torch.split(codes, CHUNK_SIDS, dim=1)
    ]
    return torch.cat(scores, dim=1)


def _score_chunk(
    space: SearchSpace,
    catalogues: Catalogues,
    read: Prefilled,
    codes: torch.Tensor,
    normalizer: str,
) -> torch.Tensor:
    model, device = space.model, space.model.device
    batch, sids, levels = codes.shape
    decoder = BeamDecoder(model, read, levels - 1, sids)
    # All begin at the prompt; then each goes on from itself.
    parents = torch.zeros(batch, sids, dtype=torch.int64, device=device)
    path = _Path(catalogues, batch, sids, device)
    hidden, inside = read.hidden, codes.clamp(min=0)
    scores = torch.zeros(batch, sids, dtype=torch.float32, device=device)
    dead = (codes < 0).any(2)
    for level in range(levels):
        if level:
            hidden = decoder.advance(
                inside[..., level - 1] + space.ranges.offsets[level - 1], parents
            )
            parents = torch.arange(sids, device=device).expand(batch, sids)
        begin, end = space.ranges.bounds(level)
        made = model.logits(hidden, begin, end)
        logits = made.float().expand(batch, sids, -1)
        chosen = logits.gather(2, inside[..., level : level + 1]).squeeze(2)
        if normalizer == "children":
            scores = scores + (chosen - path.log_normalizer(level, logits))
            dead |= path.descend(level, inside[..., level])
        else:
            scores = scores + (chosen - _log_normalizer(model, hidden, made, begin, normalizer))
        # As in a search, NaN or +inf anywhere in a row ends it, whatever the normaliser reads.
        dead |= ~(logits.amax(-1) < math.inf)
    return scores.masked_fill(dead | ~scores.isfinite(), -math.inf)


def _log_normalizer(
    model: DecoderModel, hidden: torch.Tensor, logits: torch.Tensor, begin: int, normalizer: str
) -> torch.Tensor | float:
    """What is taken off each chosen logit; broadcasts to [batch, sid]."""
    if normalizer == "none":
        return 0.0
    if normalizer == "level":
        return logits.float().logsumexp(-1)
    return vocab_log_normalizer(model, hidden, logits, begin)


class _Path:
    """Where each SID stands in its trie, every SID as a request of one beam.

    The beam step walks it, so that it holds for whatever a search can run over.
    """

    def __init__(self, catalogues: Catalogues, batch: int, sids: int, device: torch.device) -> None:
        self._catalogues = catalogues.rows([row for row in range(batch) for _ in range(sids)])
        self._shape = (batch, sids)
        self._node = torch.zeros(batch * sids, 1, dtype=torch.int32, device=device)

    def log_normalizer(self, level: int, logits: torch.Tensor) -> torch.Tensor:
        """Log-sum-exp over the children: the best child's logit less its score. [batch, sid]."""
        best = self._step(level, logits, "children")
        token = best.tokens.clamp(min=0).long().view(*self._shape, 1)
        return logits.gather(2, token).squeeze(2) - best.scores.view(self._shape)

    def descend(self, level: int, codes: torch.Tensor) -> torch.Tensor:
        """Goes to each one's child by its code [batch, sid]; True where there is none."""
        size = self._catalogues.members[0].level_sizes[level]
        only = torch.full((*self._shape, size), -math.inf, device=codes.device)
        only.scatter_(2, codes.unsqueeze(2), 0.0)
        self._node = self._step(level, only, "none").node
        return (self._node < 0).view(self._shape)

    def _step(self, level: int, logits: torch.Tensor, normalizer: str) -> BeamStepResult:
        return constrained_beam_step(
            logits.reshape(len(self._node), 1, -1),
            self._node,
            torch.zeros_like(self._node, dtype=torch.float32),
            self._catalogues.argument,
            1,
            level,
            normalizer=normalizer,
        )
