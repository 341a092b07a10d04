"""Keys and values of a search: the prompt's once per request, the beams' where they were made."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch

from onesearch_fast.models import DecoderModel
from onesearch_fast.models.decoder import DecoderAttention
from onesearch_fast.ops import beam_attention, causal_attention


@dataclass(frozen=True)
class ContextKV:
    """Keys and values of what was read before the beams, shared by all beams of a request.

    For self-attention that is the prompt, or the start tokens of an encoder-decoder's decoder; for
    cross-attention it is the encoded prompt.

    Attributes:
        keys, values: [layer, batch, kv_head, prompt, head_dim]; prompts are padded on the right.
        lengths: [batch] int32, tokens of each prompt.
    """

    keys: torch.Tensor
    values: torch.Tensor
    lengths: torch.Tensor

    @classmethod
    def empty(cls, model: DecoderModel, lengths: torch.Tensor, padded_length: int) -> ContextKV:
        s = model.shape
        sizes = (s.num_layers, len(lengths), s.num_kv_heads, padded_length, s.head_dim)
        keys, values = (
            torch.empty(sizes, dtype=model.dtype, device=model.device) for _ in range(2)
        )
        return cls(keys, values, lengths.int())

    def store(self, layer: int, key: torch.Tensor, value: torch.Tensor) -> None:
        """Fills a layer with key and value [batch, token, kv_head, head_dim]."""
        self.keys[layer] = key.transpose(1, 2)
        self.values[layer] = value.transpose(1, 2)

    def attend(self, layer: int, query: torch.Tensor) -> torch.Tensor:
        """`ops.beam_attention` of a layer to the context alone."""
        return beam_attention(query, self.keys[layer], self.values[layer], self.lengths)


class EncoderAttention:
    """Attention of every prompt token to all of its prompt; nothing is kept."""

    def __init__(self, lengths: torch.Tensor) -> None:
        self._lengths = lengths.int()

    def __call__(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor
    ) -> torch.Tensor:
        """`Attention`."""
        return beam_attention(query, key.transpose(1, 2), value.transpose(1, 2), self._lengths)


class PrefillAttention(DecoderAttention):
    """Causal attention of the tokens [begin, end) of prompts; enters them into a `ContextKV`.

    What stands before them must be in the context. Padding stands on the right, so no real token
    ever sees it.
    """

    def __init__(
        self, context: ContextKV, encoded: ContextKV | None, begin: int = 0, end: int | None = None
    ) -> None:
        self._context = context
        self._encoded = encoded
        self._end = context.keys.shape[3] if end is None else end
        self._memory = _by_layer(
            kept[:, :, :, begin : self._end].transpose(2, 3)
            for kept in (context.keys, context.values)
        )
        self._final = len(context.keys) - 1

    def memory(self, layer: int) -> tuple[torch.Tensor, torch.Tensor]:
        """`DecoderAttention`."""
        return self._memory[layer]

    def attend(self, layer: int, query: torch.Tensor) -> torch.Tensor:
        """`DecoderAttention`; in the final layer only the last token of each prompt asks."""
        context, end = self._context, self._end
        keys, values = context.keys[layer], context.values[layer]
        if layer < self._final:
            return causal_attention(query, keys[:, :, :end], values[:, :, :end])
        # Before the end nobody asks: what the final layer makes of these tokens is not used.
        return context.attend(layer, query) if end == keys.shape[2] else query.flatten(2)

    def cross(self, layer: int, query: torch.Tensor) -> torch.Tensor:
        """`DecoderAttention`."""
        return _encoded_prompt(self._encoded).attend(layer, query)


class BeamKV:
    """Keys and values of the tokens that beams have made.

    They stay where they were made, [layer, batch, step, beam, kv_head, head_dim]; `ancestry`
    [batch, beam, step] int32 tells in which beam each step of a beam's own past stands.
    Re-parenting beams rewrites that table and moves no keys or values.
    """

    def __init__(self, model: DecoderModel, batch: int, num_steps: int, num_beams: int) -> None:
        s = model.shape
        sizes = (s.num_layers, batch, num_steps, num_beams, s.num_kv_heads, s.head_dim)
        self._keys, self._values = (
            torch.empty(sizes, dtype=model.dtype, device=model.device) for _ in range(2)
        )
        self.ancestry = torch.empty(batch, 1, 0, dtype=torch.int32, device=model.device)

    @property
    def num_steps(self) -> int:
        """Steps made so far."""
        return self.ancestry.shape[2]

    def branch(self, parents: torch.Tensor) -> None:
        """Begins a step whose beam i continues beam parents[:, i]; parents [batch, beam] int64."""
        batch, beams = parents.shape
        past = self.ancestry.gather(1, parents.unsqueeze(2).expand(-1, -1, self.num_steps))
        own = torch.arange(beams, dtype=torch.int32, device=parents.device).expand(batch, beams)
        self.ancestry = torch.cat((past, own.unsqueeze(2)), dim=2)

    def made(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Keys and values of each layer up to this step: [batch, step, beam, kv_head, head_dim]."""
        steps = self.num_steps
        return _by_layer(kept[:, :, :steps] for kept in (self._keys, self._values))

    def latest(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Those of this step's beams: [batch, beam, kv_head, head_dim]."""
        step, beams = self.num_steps - 1, self.ancestry.shape[1]
        return _by_layer(kept[:, :, step, :beams] for kept in (self._keys, self._values))


class BeamAttention(DecoderAttention):
    """Attention of one step's beams over their context and their own past."""

    def __init__(self, context: ContextKV, encoded: ContextKV | None, beams: BeamKV) -> None:
        self._context = context
        self._encoded = encoded
        self._own = beams.made()
        self._memory = beams.latest()
        self._ancestry = beams.ancestry

    def memory(self, layer: int) -> tuple[torch.Tensor, torch.Tensor]:
        """`DecoderAttention`."""
        return self._memory[layer]

    def attend(self, layer: int, query: torch.Tensor) -> torch.Tensor:
        """`DecoderAttention`."""
        context = self._context
        return beam_attention(
            query,
            context.keys[layer],
            context.values[layer],
            context.lengths,
            *self._own[layer],
            self._ancestry,
        )

    def cross(self, layer: int, query: torch.Tensor) -> torch.Tensor:
        """`DecoderAttention`."""
        return _encoded_prompt(self._encoded).attend(layer, query)


def _by_layer(stored: Iterable[torch.Tensor]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Keys and values [layer, ...] as a pair for each layer."""
    keys, values = stored
    return list(zip(keys.unbind(), values.unbind(), strict=True))


def _encoded_prompt(encoded: ContextKV | None) -> ContextKV:
    assert encoded is not None, "a model without an encoder has no cross-attention"
    return encoded
