"""The searches: over the trie, and over the whole vocabulary."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle

import torch
import torch.nn.functional as F  # noqa: N812

from onesearch_fast.engine.decoding import BeamDecoder, prefill, vocab_log_normalizer
from onesearch_fast.engine.filters import Filters
from onesearch_fast.engine.prompt_batch import PromptBatch
from onesearch_fast.index.sid_trie import SidTrie
from onesearch_fast.models import DecoderModel
from onesearch_fast.ops.constrained_beam_step import BeamStepResult, constrained_beam_step


@dataclass(frozen=True)
class CodeRanges:
    """Where codes stand in the vocabulary: level l owns ids [offsets[l], offsets[l] + sizes[l])."""

    offsets: tuple[int, ...]
    sizes: tuple[int, ...]

    def bounds(self, level: int) -> tuple[int, int]:
        """First and one past the last token id of `level`."""
        return self.offsets[level], self.offsets[level] + self.sizes[level]


@dataclass(frozen=True)
class SearchSpace:
    """A model, the trie of what it may say, and where in the vocabulary it says it."""

    model: DecoderModel
    trie: SidTrie
    ranges: CodeRanges


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
    space: SearchSpace, prompts: PromptBatch, num_beams: int, normalizer: str, filters: Filters
) -> Beams:
    """The best `num_beams` SIDs of the trie for every prompt, by `ops.constrained_beam_step`.

    The prompt is read once; level 0 is decided from its last state, and the last level's codes are
    never fed back, so a search makes num_levels - 1 passes over the beams.
    """
    model, trie = space.model, space.trie
    read = prefill(model, prompts)
    # More beams than a level has nodes would only be dead weight in the model.
    widths = [min(num_beams, trie.num_nodes(level)) for level in range(1, trie.num_levels)]
    decoder = BeamDecoder(model, read, len(widths), max(widths))
    hidden, beams = read.hidden, _root(len(prompts), model.device)
    codes = torch.empty(len(prompts), 1, 0, dtype=torch.int32, device=model.device)
    # A step reads the result before it, so two of each width take turns.
    results = {
        width: cycle([BeamStepResult.empty(len(prompts), width, model.device) for _ in range(2)])
        for width in {*widths, num_beams}
    }
    for level, width in enumerate([*widths, num_beams]):
        if level:
            tokens = beams.tokens.clamp(min=0) + space.ranges.offsets[level - 1]
            hidden = decoder.advance(tokens.long(), _parents(beams))
        beams = constrained_beam_step(
            model.logits(hidden, *space.ranges.bounds(level)),
            beams.node,
            beams.scores,
            trie,
            width,
            level,
            normalizer=normalizer,
            log_normalizer=vocab_log_normalizer(model, hidden) if normalizer == "vocab" else None,
            filter=filters,
            out=next(results[width]),
        )
        codes = _extend(codes, _parents(beams), beams.tokens)
    codes = codes.masked_fill_((beams.node < 0).unsqueeze(2), -1)
    return Beams(codes, beams.scores, beams.node.long(), beams.count)


def _root(batch: int, device: torch.device) -> BeamStepResult:
    """One beam a request, at the root of the trie."""
    beams = BeamStepResult.empty(batch, 1, device)
    for column in (beams.scores, beams.parent_beam, beams.tokens, beams.node):
        column.zero_()
    return beams


def _parents(beams: BeamStepResult) -> torch.Tensor:
    """int64 [batch, beam]; a dead beam continues beam 0, which changes nothing."""
    return beams.parent_beam.clamp(min=0).long()


def _extend(past: torch.Tensor, parents: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Tokens [batch, beam, level] of re-parented beams, with one more level."""
    inherited = past.gather(1, parents.unsqueeze(2).expand(*parents.shape, past.shape[2]))
    return torch.cat((inherited, tokens.unsqueeze(2)), dim=2)


@torch.inference_mode()
def unconstrained_search(space: SearchSpace, prompts: PromptBatch, num_beams: int) -> Beams:
    """Plain beam search over the whole vocabulary, as many tokens as an SID has codes.

    Scores are summed log-softmax over the vocabulary; ties go to the lower parent, then the lower
    token. A token outside its level's range has code -1; rank is -1 unless the codes are an SID.
    """
    model, vocab, levels = space.model, space.model.shape.vocab_size, space.trie.num_levels
    read = prefill(model, prompts)
    widths = [min(num_beams, vocab**level) for level in range(1, levels)]
    decoder = BeamDecoder(model, read, len(widths), max(widths))
    hidden = read.hidden
    tokens = torch.empty(len(prompts), 1, 0, dtype=torch.int64, device=model.device)
    scores = torch.zeros(len(prompts), 1, dtype=torch.float32, device=model.device)
    parents = torch.zeros(len(prompts), 1, dtype=torch.int64, device=model.device)
    for level, width in enumerate([*widths, num_beams]):
        if level:
            hidden = decoder.advance(tokens[..., -1].clamp(min=0), parents)
        requests = zip(hidden, scores, strict=True)
        parts = [_best_tokens(model, states, past, width) for states, past in requests]
        scores, chosen = (torch.stack(column) for column in zip(*parts, strict=True))
        parents = chosen.clamp(min=0) // vocab
        tokens = _extend(tokens, parents, torch.where(chosen < 0, -1, chosen % vocab))
    return _as_codes(space, tokens, scores)


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


def _as_codes(space: SearchSpace, tokens: torch.Tensor, scores: torch.Tensor) -> Beams:
    codes = tokens - torch.tensor(space.ranges.offsets, device=tokens.device)
    sizes = torch.tensor(space.ranges.sizes, device=tokens.device)
    dead = (scores == -math.inf).unsqueeze(2)
    codes = torch.where((codes < 0) | (codes >= sizes) | dead, -1, codes).int()
    ranks = torch.from_numpy(space.trie.rank(codes.flatten(0, 1).cpu().numpy()))
    rank = ranks.to(codes.device).view(scores.shape)
    return Beams(codes, scores, rank, scores.isfinite().sum(1, dtype=torch.int32))
