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
    """Where keys and values live, and which of them a query sees; prefill and beams differ here.

    Called once per layer with rotated query [batch, token, head, head_dim] and key, value
    [batch, token, kv_head, head_dim]; stores key and value; returns softmax(q k^T / sqrt(head_dim))
    v as [batch, token, head * head_dim]. In the last layer of a prefill the query holds one token a
    request.
    """

    def __call__(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor
    ) -> torch.Tensor: ...


class DecoderModel(Protocol):
    """A decoder-only language model; register an implementation with `models.register`."""

    @property
    def shape(self) -> DecoderShape: ...

    @property
    def dtype(self) -> torch.dtype: ...

    @property
    def device(self) -> torch.device: ...

    def load(self, checkpoint: Checkpoint) -> None:
        """Copies a checkpoint into the packed weights in place; checks all of it first."""

    def embed(self, tokens: torch.Tensor) -> torch.Tensor:
        """Token ids [batch, token] int64 -> [batch, token, hidden]."""

    def forward(
        self,
        hidden: torch.Tensor,
        positions: torch.Tensor,
        attention: Attention,
        last: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Input embeddings [batch, token, hidden] -> normalised hidden states, ready for `logits`.

        positions: int64, broadcasts to [batch, token]. last: [batch] int64, the one token of each
            request whose output is wanted; the result is then [batch, 1, hidden] and the last layer
            skips the other tokens.
        """

    def logits(self, hidden: torch.Tensor, begin: int, end: int) -> torch.Tensor:
        """[batch, token, hidden] -> [batch, token, end - begin]: the ids [begin, end) only."""
