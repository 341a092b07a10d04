"""The searches: over the trie, over the whole vocabulary, and along given semantic IDs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812

from onesearch_fast.engine.decoding import BeamDecoder, Prefilled, prefill
from onesearch_fast.engine.prompt_batch import PromptBatch
from onesearch_fast.index.item_filter import ItemFilter
from onesearch_fast.index.sid_trie import SidTrie
from onesearch_fast.index.trie_walk import child_nodes, valid_tokens
from onesearch_fast.models import DecoderModel
from onesearch_fast.ops.constrained_beam_step import constrained_beam_step

# Logits over the whole vocabulary exist for so many numbers at a time (64 MiB in float32).
_CHUNK_LOGITS = 1 << 24
# Given SIDs are scored so many at a time.
_CHUNK_SIDS = 512


@dataclass(frozen=True)
class CodeRanges:
    """Where codes stand in the vocabulary: level l owns ids [offsets[l], offsets[l] + sizes[l])."""

    offsets: tuple[int, ...]
    sizes: tuple[int, ...]

    def bounds(self, level: int) -> tuple[int, int]:
        """First and one past the last token id of `level`."""
        return self.offsets[level], self.offsets[level] + self.sizes[level]


@dataclass(frozen=True)
class Beams:
    """The beams of a finished search, best first.

    codes [batch, beam, level] int32, scores [batch, beam] float32, rank [batch, beam] int64,
    count [batch] int32; entries at or past `count` are -1 and -inf.
    """

    codes: torch.Tensor
    scores: torch.Tensor
    rank: torch.Tensor
    count: torch.Tensor

    @classmethod
    def concatenate(cls, parts: Sequence[Beams]) -> Beams:
        """One batch out of several."""
        columns = ([getattr(part, name) for part in parts] for name in cls.__dataclass_fields__)
        return cls(*(torch.cat(column) for column in columns))


@torch.inference_mode()
def constrained_search(
    model: DecoderModel,
    prompts: PromptBatch,
    trie: SidTrie,
    ranges: CodeRanges,
    num_beams: int,
    normalizer: str,
    filter: ItemFilter | Sequence[ItemFilter | None] | None,
) -> Beams:
    """The best `num_beams` SIDs of the trie for every prompt, by `ops.constrained_beam_step`.

    The prompt is read once; level 0 is decided from its last state, and the last level's codes are
    never fed back, so a search makes num_levels - 1 passes over the beams.
    """
    read = prefill(model, prompts)
    # More beams than a level has nodes would only be dead weight in the model.
    widths = [min(num_beams, trie.num_nodes(level + 1)) for level in range(trie.num_levels)]
    decoder = BeamDecoder(model, read.context, trie.num_levels - 1, max(widths[:-1]))
    hidden, batch = read.hidden, len(prompts)
    node = torch.zeros(batch, 1, dtype=torch.int32, device=model.device)
    parents = node.long()
    scores = torch.zeros(batch, 1, dtype=torch.float32, device=model.device)
    codes = torch.empty(batch, 1, 0, dtype=torch.int32, device=model.device)
    for level in range(trie.num_levels):
        if level:
            tokens = codes[..., -1].clamp(min=0).long() + ranges.offsets[level - 1]
            hidden = decoder.advance(tokens, parents)
        last = level + 1 == trie.num_levels
        step = constrained_beam_step(
            model.logits(hidden, *ranges.bounds(level)),
            node,
            scores,
            trie,
            num_beams if last else widths[level],
            level,
            normalizer=normalizer,
            log_normalizer=_vocab_normalizer(model, hidden) if normalizer == "vocab" else None,
            filter=filter,
        )
        node, scores, parents = step.node, step.scores, step.parent_beam.clamp(min=0).long()
        codes = _extend(codes, parents, step.tokens)
    codes = codes.masked_fill_((node < 0).unsqueeze(2), -1)
    return Beams(codes, scores, node.long(), (node >= 0).sum(1, dtype=torch.int32))


def _extend(codes: torch.Tensor, parents: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Codes [batch, beam, level] of re-parented beams, with one more level."""
    past = codes.gather(1, parents.unsqueeze(2).expand(*parents.shape, codes.shape[2]))
    return torch.cat((past, tokens.unsqueeze(2)), dim=2)


def _vocab_normalizer(model: DecoderModel, hidden: torch.Tensor) -> torch.Tensor:
    """Log-sum-exp over the whole vocabulary, [batch, beam] float32."""
    vocab = model.shape.vocab_size
    rows = hidden.reshape(1, -1, hidden.shape[-1])
    chunks = torch.split(rows, max(1, _CHUNK_LOGITS // vocab), dim=1)
    parts = [model.logits(chunk, 0, vocab).float().logsumexp(-1) for chunk in chunks]
    return torch.cat(parts, dim=1).view(hidden.shape[:2])


@torch.inference_mode()
def unconstrained_search(
    model: DecoderModel, prompts: PromptBatch, trie: SidTrie, ranges: CodeRanges, num_beams: int
) -> Beams:
    """Plain beam search over the whole vocabulary, as many tokens as an SID has codes.

    Scores are summed log-softmax over the vocabulary; ties go to the lower parent, then the lower
    token. A token outside its level's range has code -1; rank is -1 unless the codes are an SID.
    """
    read = prefill(model, prompts)
    levels, vocab, batch = trie.num_levels, model.shape.vocab_size, len(prompts)
    widths = [min(num_beams, vocab ** (level + 1)) for level in range(levels)]
    widths[-1] = num_beams
    decoder = BeamDecoder(model, read.context, levels - 1, max(widths[:-1]))
    hidden = read.hidden
    scores = torch.zeros(batch, 1, dtype=torch.float32, device=model.device)
    parents = torch.zeros(batch, 1, dtype=torch.int64, device=model.device)
    tokens = torch.empty(batch, 1, 0, dtype=torch.int64, device=model.device)
    for level, width in enumerate(widths):
        if level:
            hidden = decoder.advance(tokens[..., -1].clamp(min=0), parents)
        parts = [_best_tokens(model, hidden[b], scores[b], width) for b in range(batch)]
        scores, chosen = (torch.stack(column) for column in zip(*parts, strict=True))
        parents = chosen.clamp(min=0) // vocab
        tokens = _extend(tokens, parents, torch.where(chosen < 0, -1, chosen % vocab))
    return _as_codes(tokens, scores, trie, ranges)


def _best_tokens(
    model: DecoderModel, hidden: torch.Tensor, scores: torch.Tensor, width: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The best continuations of one request's beams, hidden [beam, hidden], scores [beam].

    Returns scores [width] and parent * vocab + token [width], padded with -inf and -1.
    """
    vocab = model.shape.vocab_size
    log_probs = model.logits(hidden.unsqueeze(0), 0, vocab)[0].float().log_softmax(-1)
    candidates = (scores[:, None] + log_probs).view(-1)
    candidates = torch.where(candidates.isfinite(), candidates, -math.inf)
    threshold = candidates.topk(min(width, len(candidates))).values[-1]
    # topk breaks ties as it likes; the order of indices is (parent, token), and the sort keeps it.
    kept = (candidates >= threshold).nonzero().squeeze(1)
    best = kept[candidates[kept].argsort(descending=True, stable=True)[:width]]
    missing = (0, width - len(best))
    found = F.pad(candidates[best], missing, value=-math.inf)
    return found, F.pad(best, missing, value=-1).masked_fill_(found == -math.inf, -1)


def _as_codes(
    tokens: torch.Tensor, scores: torch.Tensor, trie: SidTrie, ranges: CodeRanges
) -> Beams:
    codes = tokens - torch.tensor(ranges.offsets, device=tokens.device)
    sizes = torch.tensor(ranges.sizes, device=tokens.device)
    dead = (scores == -math.inf).unsqueeze(2)
    codes = torch.where((codes < 0) | (codes >= sizes) | dead, -1, codes).int()
    rank = trie.rank(codes.view(-1, trie.num_levels).cpu().numpy())
    count = scores.isfinite().sum(1).int()
    return Beams(codes, scores, torch.from_numpy(rank).to(codes.device).view(scores.shape), count)


@torch.inference_mode()
def score_codes(
    model: DecoderModel,
    prompts: PromptBatch,
    codes: torch.Tensor,
    trie: SidTrie,
    ranges: CodeRanges,
    normalizer: str,
) -> torch.Tensor:
    """The score that a search would give each SID: codes [batch, sid, level] -> [batch, sid].

    Each SID is a beam that is never re-parented, so the same code runs as in a search.
    """
    read = prefill(model, prompts)
    parts = [
        _score_chunk(model, read, chunk, trie, ranges, normalizer)
        for chunk in torch.split(codes, _CHUNK_SIDS, dim=1)
    ]
    return torch.cat(parts, dim=1)


def _score_chunk(
    model: DecoderModel,
    read: Prefilled,
    codes: torch.Tensor,
    trie: SidTrie,
    ranges: CodeRanges,
    normalizer: str,
) -> torch.Tensor:
    batch, sids, levels = codes.shape
    decoder = BeamDecoder(model, read.context, levels - 1, sids)
    parents = torch.zeros(batch, sids, dtype=torch.int64, device=model.device)
    own = torch.arange(sids, device=model.device).expand(batch, sids)
    nodes = np.zeros(batch * sids, dtype=np.int64)
    hidden = read.hidden
    scores = torch.zeros(batch, sids, dtype=torch.float32, device=model.device)
    for level in range(levels):
        if level:
            tokens = codes[..., level - 1].clamp(min=0) + ranges.offsets[level - 1]
            hidden = decoder.advance(tokens, parents if level == 1 else own)
        logits = model.logits(hidden, *ranges.bounds(level)).float().expand(batch, sids, -1)
        chosen = logits.gather(2, codes[..., level : level + 1].clamp(min=0)).squeeze(2)
        scores = scores + (
            chosen - _normalizer(model, hidden, logits, trie, level, nodes, normalizer)
        )
        nodes = child_nodes(trie, level, nodes, codes[..., level].reshape(-1).cpu().numpy())
    scores = torch.where(scores.isfinite(), scores, -math.inf)
    return scores.masked_fill((codes < 0).any(2), -math.inf)


def _normalizer(
    model: DecoderModel,
    hidden: torch.Tensor,
    logits: torch.Tensor,
    trie: SidTrie,
    level: int,
    nodes: npt.NDArray[np.int64],
    normalizer: str,
) -> torch.Tensor | float:
    """What is taken off each chosen logit, broadcasts to [batch, sid]."""
    if normalizer == "none":
        return 0.0
    if normalizer == "level":
        return logits.logsumexp(-1)
    if normalizer == "vocab":
        return _vocab_normalizer(model, hidden)
    valid = torch.from_numpy(valid_tokens(trie, level, nodes)).to(logits.device)
    return logits.masked_fill(~valid.view(logits.shape), -math.inf).logsumexp(-1)
