"""What the engine asks of a served architecture: no cache, since attention is handed to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch

from onesearch_fast.models.checkpoint import Checkpoint


@dataclass(frozen=True)
class DecoderShape:
    """The sizes that fix the layout of keys and values, and what a prompt may be."""

    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    hidden_size: int
    vocab_size: int
    max_positions: int


class Attention(Protocol):
    """Self-attention: where keys and values live, and which of them a query sees."""

    def __call__(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor
    ) -> torch.Tensor:
        """softmax(q k^T / sqrt(head_dim)) v over the keys and values that each token may see.

        Called once per layer with what the layer made of its tokens: query [batch, token, head,
        head_dim], key and value [batch, token, kv_head, head_dim]. Returns [batch, token,
        head * head_dim]. In the last layer of a prefill the query holds one token a request.
        """


class DecoderAttention(Attention, Protocol):
    """Attention of a decoder; prefill and beams differ here."""

    def __call__(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor
    ) -> torch.Tensor:
        """`Attention`: copies key and value to where they are kept, then attends."""
        kept_key, kept_value = self.memory(layer)
        kept_key.copy_(key)
        kept_value.copy_(value)
        return self.attend(layer, query)

    def memory(self, layer: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Where keys and values of the layer's tokens are kept: [batch, token, kv_head, head_dim].

        A model whose kernel writes them there calls `attend` next.
        """

    def attend(self, layer: int, query: torch.Tensor) -> torch.Tensor:
        """Attention to the keys and values that are kept; shapes as above."""

    def cross(self, layer: int, query: torch.Tensor) -> torch.Tensor:
        """Attention to the encoded prompt, for a model with an encoder; shapes as above."""


class Encoder(Protocol):
    """The half of an encoder-decoder model that reads the prompt."""

    @property
    def max_positions(self) -> int: ...

    def encode(self, hidden: torch.Tensor, attention: Attention) -> torch.Tensor:
        """Prompt embeddings [batch, prompt, hidden] -> what cross-attention reads, same shape."""

    def cross_key_value(
        self, layer: int, encoded: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values of a decoder layer's cross-attention, [batch, prompt, kv_head, head_dim].

        They are made once per prompt and shared by all beams.
        """


class DecoderModel(Protocol):
    """A language model that generates; register an implementation with `models.register`.

    Decoder-only models read the prompt themselves. An encoder-decoder model has an `encoder` that
    reads it, and its decoder begins with `decoder_prefix_ids`.
    """

    @property
    def shape(self) -> DecoderShape:
        """The sizes of the decoder."""

    @property
    def encoder(self) -> Encoder | None: ...

    @property
    def decoder_prefix_ids(self) -> tuple[int, ...]:
        """The decoder's own start tokens; empty without an encoder."""

    @property
    def dtype(self) -> torch.dtype: ...

    @property
    def device(self) -> torch.device: ...

    @property
    def nbytes(self) -> int:
        """Of the weights."""

    def load(self, checkpoint: Checkpoint) -> None:
        """Copies a checkpoint into the packed weights in place; checks all of it first."""

    def embed(self, tokens: torch.Tensor) -> torch.Tensor:
        """Token ids [batch, token] int64 -> [batch, token, hidden]."""

    def forward(
        self,
        hidden: torch.Tensor,
        positions: torch.Tensor,
        attention: DecoderAttention,
        last: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Input embeddings [batch, token, hidden] -> normalised hidden states, ready for `logits`.

        positions: int64, broadcasts to [batch, token]. last: [batch] int64, the one token of each
            request whose output is wanted; the result is then [batch, 1, hidden] and the last layer
            skips the other tokens.
        """

    def logits(self, hidden: torch.Tensor, begin: int, end: int) -> torch.Tensor:
        """[batch, token, hidden] -> [batch, token, end - begin]: the ids [begin, end) only."""


def max_prompt_tokens(model: DecoderModel, num_steps: int) -> int:
    """The longest prompt after which `num_steps` tokens can be fed to the model."""
    if model.encoder is not None:
        return model.encoder.max_positions
    return model.shape.max_positions - num_steps
