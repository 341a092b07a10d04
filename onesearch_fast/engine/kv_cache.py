"""Keys and values of a search: the prompt's once per request, the beams' where they were made."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812

from onesearch_fast.engine.attention import shared_context_attention
from onesearch_fast.models import DecoderModel


@dataclass(frozen=True)
class ContextKV:
    """Keys and values of what was read before the beams, shared by all beams of a request.

    For self-attention that is the prompt, or the start tokens of an encoder-decoder's decoder; for
    cross-attention it is the encoded prompt.

    Attributes:
        keys, values: [layer, batch, kv_head, prompt, head_dim]; prompts are padded on the right.
        lengths: [batch] int64, tokens of each prompt.
        bias: [batch, prompt], 0 on a prompt and -inf on its padding; None when nothing is padded.
    """

    keys: torch.Tensor
    values: torch.Tensor
    lengths: torch.Tensor
    bias: torch.Tensor | None

    @classmethod
    def empty(cls, model: DecoderModel, lengths: torch.Tensor, padded_length: int) -> ContextKV:
        s = model.shape
        sizes = (s.num_layers, len(lengths), s.num_kv_heads, padded_length, s.head_dim)
        keys, values = (
            torch.empty(sizes, dtype=model.dtype, device=model.device) for _ in range(2)
        )
        bias = _padding_bias(lengths, padded_length, model.dtype)
        return cls(keys, values, lengths, bias)

    def store(self, layer: int, key: torch.Tensor, value: torch.Tensor) -> None:
        """Fills a layer with key and value [batch, prompt, kv_head, head_dim]."""
        self.keys[layer].copy_(key.transpose(1, 2))
        self.values[layer].copy_(value.transpose(1, 2))

    def attend(
        self,
        layer: int,
        query: torch.Tensor,
        tail_key: torch.Tensor | None = None,
        tail_value: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """`shared_context_attention` of a layer."""
        return shared_context_attention(
            query, self.keys[layer], self.values[layer], self.bias, tail_key, tail_value
        )


def _padding_bias(
    lengths: torch.Tensor, padded_length: int, dtype: torch.dtype
) -> torch.Tensor | None:
    outside = torch.arange(padded_length, device=lengths.device) >= lengths[:, None]
    if not bool(outside.any()):
        return None
    return torch.zeros(outside.shape, dtype=dtype, device=lengths.device).masked_fill_(
        outside, float("-inf")
    )


class EncoderAttention:
    """Attention of every prompt token to all of its prompt; nothing is kept."""

    def __init__(self, bias: torch.Tensor | None) -> None:
        self._mask = None if bias is None else bias[:, None, None]

    def __call__(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor
    ) -> torch.Tensor:
        """`Attention`."""
        mixed = F.scaled_dot_product_attention(
            query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2), self._mask
        )
        return mixed.transpose(1, 2).reshape(*query.shape[:2], -1)


class PrefillAttention:
    """Causal attention within what is read; fills a `ContextKV`.

    Padding stands on the right, so no real token ever sees it and no mask is needed.
    """

    def __init__(self, context: ContextKV, encoded: ContextKV | None) -> None:
        self._context = context
        self._encoded = encoded
        self._final = len(context.keys) - 1

    def __call__(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor
    ) -> torch.Tensor:
        """`DecoderAttention`; in the final layer only the last token of each prompt asks."""
        context = self._context
        context.store(layer, key, value)
        if layer == self._final:
            return context.attend(layer, query)
        mixed = F.scaled_dot_product_attention(
            query.transpose(1, 2),
            context.keys[layer],
            context.values[layer],
            is_causal=True,
            enable_gqa=True,
        )
        return mixed.transpose(1, 2).reshape(*query.shape[:2], -1)

    def cross(self, layer: int, query: torch.Tensor) -> torch.Tensor:
        """`DecoderAttention`."""
        return _encoded_prompt(self._encoded).attend(layer, query)


class BeamKV:
    """Keys and values of the tokens that beams have made.

    They stay where they were made, [layer, batch, step, beam, kv_head, head_dim]; `ancestry`
    [batch, beam, step] tells in which beam each step of a beam's own past stands. Re-parenting
    beams rewrites that table and moves no keys or values.
    """

    def __init__(self, model: DecoderModel, batch: int, num_steps: int, num_beams: int) -> None:
        s = model.shape
        sizes = (s.num_layers, batch, num_steps, num_beams, s.num_kv_heads, s.head_dim)
        self._keys, self._values = (
            torch.empty(sizes, dtype=model.dtype, device=model.device) for _ in range(2)
        )
        self._ancestry = torch.empty(batch, 1, 0, dtype=torch.int64, device=model.device)

    @property
    def num_steps(self) -> int:
        """Steps made so far."""
        return self._ancestry.shape[2]

    def branch(self, parents: torch.Tensor) -> None:
        """Begins a step whose beam i continues beam parents[:, i]; parents [batch, beam] int64."""
        batch, beams = parents.shape
        steps = self.num_steps
        past = self._ancestry.gather(1, parents.unsqueeze(2).expand(batch, beams, steps))
        own = torch.arange(beams, device=parents.device).expand(batch, beams)
        self._ancestry = torch.cat((past, own.unsqueeze(2)), dim=2)

    def ancestors(self) -> torch.Tensor:
        """Where each beam's past stands among [batch * step * beam]: [batch * beam * steps]."""
        _, batch, steps, beams = self._keys.shape[:4]
        device = self._ancestry.device
        request = torch.arange(batch, device=device).view(-1, 1, 1)
        step = torch.arange(self.num_steps, device=device)
        return ((request * steps + step) * beams + self._ancestry).view(-1)

    def store(self, layer: int, key: torch.Tensor, value: torch.Tensor) -> None:
        """Keeps what the current step's beams made, [batch, beam, kv_head, head_dim]."""
        step, beams = self.num_steps - 1, key.shape[1]
        self._keys[layer, :, step, :beams] = key
        self._values[layer, :, step, :beams] = value

    def gather(self, layer: int, ancestors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values of each beam's own past, [batch, beam, step, kv_head, head_dim]."""
        kv_heads, head_dim = self._keys.shape[4:]
        sizes = (*self._ancestry.shape, kv_heads, head_dim)
        key, value = (
            stored[layer].view(-1, kv_heads * head_dim).index_select(0, ancestors).view(sizes)
            for stored in (self._keys, self._values)
        )
        return key, value


class BeamAttention:
    """Attention of one step's beams over their context and their own past."""

    def __init__(self, context: ContextKV, encoded: ContextKV | None, beams: BeamKV) -> None:
        self._context = context
        self._encoded = encoded
        self._beams = beams
        self._ancestors = beams.ancestors()

    def __call__(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor
    ) -> torch.Tensor:
        """`DecoderAttention`."""
        self._beams.store(layer, key, value)
        return self._context.attend(layer, query, *self._beams.gather(layer, self._ancestors))

    def cross(self, layer: int, query: torch.Tensor) -> torch.Tensor:
        """`DecoderAttention`."""
        return _encoded_prompt(self._encoded).attend(layer, query)


def _encoded_prompt(encoded: ContextKV | None) -> ContextKV:
    assert encoded is not None, "a model without an encoder has no cross-attention"
    return encoded
