"""Teacher-forced scores of given semantic IDs."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch

from onesearch_fast.engine.beam_search import SearchSpace
from onesearch_fast.engine.decoding import (
    BeamDecoder,
    Prefilled,
    prefill,
    vocab_log_normalizer,
)
from onesearch_fast.engine.prompt_batch import PromptBatch
from onesearch_fast.index.trie_walk import child_nodes, valid_tokens

# SIDs are scored so many at a time.
_CHUNK_SIDS = 512

Nodes = npt.NDArray[np.int64]


@torch.inference_mode()
def score_codes(
    space: SearchSpace, prompts: PromptBatch, codes: torch.Tensor, normalizer: str
) -> torch.Tensor:
    """The score that a search would give each SID: codes [batch, sid, level] -> [batch, sid].

    Each SID is a beam that is never re-parented. A row with a -1 scores -inf.
    """
    read = prefill(space.model, prompts)
    chunks = torch.split(codes, _CHUNK_SIDS, dim=1)
    return torch.cat([_score_chunk(space, read, chunk, normalizer) for chunk in chunks], dim=1)


def _score_chunk(
    space: SearchSpace, read: Prefilled, codes: torch.Tensor, normalizer: str
) -> torch.Tensor:
    model, device = space.model, space.model.device
    batch, sids, levels = codes.shape
    decoder = BeamDecoder(model, read, levels - 1, sids)
    # All begin at the prompt; then each goes on from itself.
    parents = torch.zeros(batch, sids, dtype=torch.int64, device=device)
    nodes = np.zeros(batch * sids, dtype=np.int64)
    hidden, inside = read.hidden, codes.clamp(min=0)
    scores = torch.zeros(batch, sids, dtype=torch.float32, device=device)
    dead = (codes < 0).any(2)
    for level in range(levels):
        if level:
            hidden = decoder.advance(
                inside[..., level - 1] + space.ranges.offsets[level - 1], parents
            )
            parents = torch.arange(sids, device=device).expand(batch, sids)
        logits = model.logits(hidden, *space.ranges.bounds(level)).float().expand(batch, sids, -1)
        chosen = logits.gather(2, inside[..., level : level + 1]).squeeze(2)
        scores = scores + (
            chosen - _log_normalizer(space, hidden, logits, level, nodes, normalizer)
        )
        # As in a search, NaN or +inf anywhere in a row ends it, whatever the normaliser reads.
        dead |= ~(logits.amax(-1) < math.inf)
        nodes = child_nodes(space.trie, level, nodes, codes[..., level].reshape(-1).cpu().numpy())
    dead |= ~scores.isfinite()
    if normalizer == "children":
        dead |= torch.from_numpy(nodes < 0).view(batch, sids).to(device)
    return scores.masked_fill(dead, -math.inf)


def _log_normalizer(
    space: SearchSpace,
    hidden: torch.Tensor,
    logits: torch.Tensor,
    level: int,
    nodes: Nodes,
    normalizer: str,
) -> torch.Tensor | float:
    """What is taken off each chosen logit; broadcasts to [batch, sid]."""
    if normalizer == "none":
        return 0.0
    if normalizer == "level":
        return logits.logsumexp(-1)
    if normalizer == "vocab":
        return vocab_log_normalizer(space.model, hidden)
    valid = torch.from_numpy(valid_tokens(space.trie, level, nodes)).to(logits.device)
    return logits.masked_fill(~valid.view(logits.shape), -math.inf).logsumexp(-1)
