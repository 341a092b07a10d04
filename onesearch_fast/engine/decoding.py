"""Running a model over prompts and over beams."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from onesearch_fast.engine.kv_cache import (
    BeamAttention,
    BeamKV,
    ContextKV,
    EncoderAttention,
    PrefillAttention,
)
from onesearch_fast.engine.prompt_batch import PromptBatch
from onesearch_fast.engine.transfers import to_device
from onesearch_fast.models import DecoderModel, Encoder
from onesearch_fast.ops import log_sum_exp

# So many logits over the vocabulary exist at a time, that their sum finds them in the cache.
CHUNK_LOGITS = 1 << 20
_CHUNK_BEAMS = 1 << 10


@dataclass(frozen=True)
class Prefilled:
    """Prompts that have been read: their keys and values, and where the first code is decided.

    Attributes:
        context: what the decoder has read: the prompts, or its start tokens after an encoder.
        encoded: the prompts as an encoder has read them; None without an encoder.
        hidden: [batch, 1, hidden], the decoder's normalised state after the last token it has read.
    """

    context: ContextKV
    encoded: ContextKV | None
    hidden: torch.Tensor


def prefill(
    model: DecoderModel, prompts: PromptBatch, encoded: ContextKV | None = None
) -> Prefilled:
    """Reads every prompt once, in one batch; `encoded` is what `encode` has made of them before."""
    if model.encoder is None:
        return _read(model, prompts.embeddings(model), prompts.lengths, None)
    if encoded is None:
        encoded = encode(model, model.encoder, prompts)
    start = to_device(torch.tensor(model.decoder_prefix_ids), model.device)
    lengths = torch.full_like(prompts.lengths, len(start))
    embeddings = model.embed(start.expand(len(prompts), -1))
    return _read(model, embeddings, lengths, encoded)


def _read(
    model: DecoderModel, hidden: torch.Tensor, lengths: torch.Tensor, encoded: ContextKV | None
) -> Prefilled:
    """Runs the decoder over the embeddings [batch, token, hidden] that stand before the beams."""
    context = ContextKV.empty(model, lengths, hidden.shape[1])
    positions = torch.arange(hidden.shape[1], device=model.device).unsqueeze(0)
    attention = PrefillAttention(context, encoded)
    return Prefilled(
        context, encoded, model.forward(hidden, positions, attention, last=lengths - 1)
    )


def encode(model: DecoderModel, encoder: Encoder, prompts: PromptBatch) -> ContextKV:
    """Keys and values of every decoder layer's cross-attention."""
    hidden = prompts.embeddings(model)
    context = ContextKV.empty(model, prompts.lengths, hidden.shape[1])
    states = encoder.encode(hidden, EncoderAttention(prompts.lengths))
    for layer in range(model.shape.num_layers):
        context.store(layer, *encoder.cross_key_value(layer, states))
    return context


class BeamDecoder:
    """Extends the beams of prefilled prompts, one token a step."""

    def __init__(
        self, model: DecoderModel, read: Prefilled, num_steps: int, num_beams: int
    ) -> None:
        self._model = model
        self._read = read
        self._beams = BeamKV(model, len(read.context.lengths), num_steps, num_beams)

    def advance(self, tokens: torch.Tensor, parents: torch.Tensor) -> torch.Tensor:
        """Appends tokens[b, i] to beam parents[b, i], which becomes beam i.

        tokens, parents: [batch, beam] int64; before the first step every parent is 0, the prompt.
        Returns hidden states [batch, beam, hidden], ready for `model.logits`.
        """
        self._beams.branch(parents)
        context = self._read.context
        positions = context.lengths[:, None].long() + (self._beams.num_steps - 1)
        attention = BeamAttention(context, self._read.encoded, self._beams)
        return self._model.forward(self._model.embed(tokens), positions, attention)


def vocab_log_normalizer(
    model: DecoderModel, hidden: torch.Tensor, logits: torch.Tensor, begin: int
) -> torch.Tensor:
    """Log-sum-exp of the logits over the whole vocabulary: [batch, beam, hidden] -> [batch, beam].

    In float32, whatever the model's dtype. `logits` [batch, beam, size] are those of the tokens
    from `begin` on, which a step has made already: a fifth of the products where five levels are
    nearly the whole vocabulary. It goes over the others in ranges of tokens, not of beams, so that
    the output matrix is read once for all beams.
    """
    rows = torch.split(hidden.reshape(1, -1, hidden.shape[-1]), _CHUNK_BEAMS, dim=1)
    known = torch.split(logits.reshape(-1, logits.shape[-1]), _CHUNK_BEAMS)
    chunks = [_chunk_log_normalizer(model, *pair, begin) for pair in zip(rows, known, strict=True)]
    return torch.cat(chunks).view(hidden.shape[:2])


def _chunk_log_normalizer(
    model: DecoderModel, hidden: torch.Tensor, known: torch.Tensor, begin: int
) -> torch.Tensor:
    """[1, beam, hidden] and [beam, size] -> [beam]."""
    step = CHUNK_LOGITS // hidden.shape[1]
    parts = [log_sum_exp(known)]
    for first, last in ((0, begin), (begin + known.shape[1], model.shape.vocab_size)):
        for at in range(first, last, step):
            parts.append(log_sum_exp(model.logits(hidden, at, min(at + step, last))[0]))
    return log_sum_exp(torch.stack(parts, dim=1))
