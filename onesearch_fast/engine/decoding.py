"""Running a model over prompts and over beams."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from onesearch_fast.engine.kv_cache import BeamAttention, BeamKV, ContextKV, PrefillAttention
from onesearch_fast.engine.prompt_batch import PromptBatch
from onesearch_fast.models import DecoderModel

# Logits over the whole vocabulary exist for so many numbers at a time (64 MiB in float32).
_CHUNK_LOGITS = 1 << 24


@dataclass(frozen=True)
class Prefilled:
    """Prompts that have been read: their keys and values, and where the first code is decided.

    `hidden` is [batch, 1, hidden], the normalised state of each prompt's last token.
    """

    context: ContextKV
    hidden: torch.Tensor


def prefill(model: DecoderModel, prompts: PromptBatch) -> Prefilled:
    """Reads every prompt once, in one batch."""
    hidden = prompts.embeds if prompts.embeds is not None else model.embed(prompts.tokens)
    length = hidden.shape[1]
    context = ContextKV.empty(model, prompts.lengths, length)
    positions = torch.arange(length, device=model.device).unsqueeze(0)
    last = prompts.lengths - 1
    return Prefilled(
        context, model.forward(hidden, positions, PrefillAttention(context), last=last)
    )


class BeamDecoder:
    """Extends the beams of prefilled prompts, one token a step."""

    def __init__(
        self, model: DecoderModel, context: ContextKV, num_steps: int, num_beams: int
    ) -> None:
        self._model = model
        self._context = context
        self._beams = BeamKV(model, len(context.lengths), num_steps, num_beams)

    def advance(self, tokens: torch.Tensor, parents: torch.Tensor) -> torch.Tensor:
        """Appends tokens[b, i] to beam parents[b, i], which becomes beam i.

        tokens, parents: [batch, beam] int64; before the first step every parent is 0, the prompt.
        Returns hidden states [batch, beam, hidden], ready for `model.logits`.
        """
        self._beams.branch(parents)
        positions = self._context.lengths[:, None] + (self._beams.num_steps - 1)
        attention = BeamAttention(self._context, self._beams)
        return self._model.forward(self._model.embed(tokens), positions, attention)


def vocab_log_normalizer(model: DecoderModel, hidden: torch.Tensor) -> torch.Tensor:
    """Log-sum-exp of the logits over the whole vocabulary: [batch, beam, hidden] -> [batch, beam].

    In float32, whatever the model's dtype; logits exist for a bounded number of beams at a time.
    """
    vocab = model.shape.vocab_size
    rows = hidden.reshape(1, -1, hidden.shape[-1])
    chunks = torch.split(rows, max(1, _CHUNK_LOGITS // vocab), dim=1)
    parts = [model.logits(chunk, 0, vocab).float().logsumexp(-1) for chunk in chunks]
    return torch.cat(parts, dim=1).view(hidden.shape[:2])
