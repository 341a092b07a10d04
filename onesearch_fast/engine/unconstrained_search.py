"""Beam search over the whole vocabulary, without a trie."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812

from onesearch_fast.engine.beam_search import Beams, SearchSpace
from onesearch_fast.engine.catalogues import Catalogues
from onesearch_fast.engine.decoding import BeamDecoder
from onesearch_fast.engine.search_batch import SearchBatch
from onesearch_fast.engine.statistics import Stopwatch
from onesearch_fast.models import DecoderModel


@torch.inference_mode()
def unconstrained_search(
    space: SearchSpace, batch: SearchBatch, num_beams: int, watch: Stopwatch
) -> Beams:
    """Plain beam search over the whole vocabulary, as many tokens as an SID has codes.

    Scores are summed log-softmax over the vocabulary; ties go to the lower parent, then the lower
    token. A token outside its level's range has code -1; rank is -1 unless the codes are an SID.
    """
    model, vocab, levels = space.model, space.model.shape.vocab_size, len(space.ranges.sizes)
    read = space.reader.read(model, batch.prompts)
    widths = [min(num_beams, vocab**level) for level in range(1, levels)]
    decoder = BeamDecoder(model, read.prefilled, len(widths), max(widths))
    watch.prefill += watch.lap()
    hidden = read.prefilled.hidden
    tokens = torch.empty(len(batch), 1, 0, dtype=torch.int64, device=model.device)
    scores = torch.zeros(len(batch), 1, dtype=torch.float32, device=model.device)
    parents = torch.zeros(len(batch), 1, dtype=torch.int64, device=model.device)
    for level, width in enumerate([*widths, num_beams]):
        if level:
            hidden = decoder.advance(tokens[..., -1].clamp(min=0), parents)
        watch.model[level] += watch.lap()
        requests = zip(hidden, scores, strict=True)
        parts = [_best_tokens(model, states, past, width) for states, past in requests]
        scores, chosen = (torch.stack(column) for column in zip(*parts, strict=True))
        parents = chosen.clamp(min=0) // vocab
        tokens = _extend(tokens, parents, torch.where(chosen < 0, -1, chosen % vocab))
        watch.selection[level] += watch.lap()
    cached_tokens = torch.tensor(read.cached_tokens, dtype=torch.int32)
    return _as_codes(space, batch.catalogues, tokens, scores, cached_tokens)


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


def _extend(past: torch.Tensor, parents: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Tokens [batch, beam, level] of re-parented beams, with one more level."""
    inherited = past.gather(1, parents.unsqueeze(2).expand(*parents.shape, past.shape[2]))
    return torch.cat((inherited, tokens.unsqueeze(2)), dim=2)


def _as_codes(
    space: SearchSpace,
    catalogues: Catalogues,
    tokens: torch.Tensor,
    scores: torch.Tensor,
    cached_tokens: torch.Tensor,
) -> Beams:
    codes = tokens - torch.tensor(space.ranges.offsets, device=tokens.device)
    sizes = torch.tensor(space.ranges.sizes, device=tokens.device)
    dead = (scores == -math.inf).unsqueeze(2)
    codes = torch.where((codes < 0) | (codes >= sizes) | dead, -1, codes).int()
    rank = torch.from_numpy(catalogues.rank(codes.cpu().numpy())).to(codes.device)
    count = scores.isfinite().sum(1, dtype=torch.int32)
    levels_scored = torch.full_like(count, codes.shape[2])
    no_bound = torch.full_like(scores[:, 0], math.inf)
    return Beams(codes, scores, rank, count, levels_scored, cached_tokens, no_bound)
