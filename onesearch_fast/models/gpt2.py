"""GPT-2: learned positions, LayerNorm before each sublayer, weights stored [in, out]."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812

from onesearch_fast.models.activations import Activation, read_activation
from onesearch_fast.models.checkpoint import Checkpoint
from onesearch_fast.models.config import ConfigReader, check_same
from onesearch_fast.models.decoder import DecoderAttention, DecoderShape
from onesearch_fast.models.layers import (
    FeedForward,
    New,
    Norm,
    PackedDecoder,
    SelfAttention,
    at_last,
)
from onesearch_fast.models.packing import Slot, fill
from onesearch_fast.models.registry import register


@dataclass(frozen=True)
class GPT2Config:
    """What is read from a Hugging Face config."""

    shape: DecoderShape
    intermediate_size: int
    activation: Activation
    norm_eps: float
    tied: bool

    @classmethod
    def from_hugging_face(cls, config: Mapping[str, Any]) -> GPT2Config:
        """Raises ValueError naming a key that is missing or asks for what is not served."""
        read = ConfigReader("GPT2Config", config)
        read.one_of("scale_attn_weights", [True], True)
        read.one_of("scale_attn_by_inverse_layer_idx", [False], False)
        read.one_of("add_cross_attention", [False], False)
        hidden, heads = read.size("n_embd"), read.size("n_head")
        return cls(
            shape=DecoderShape(
                num_layers=read.size("n_layer"),
                num_heads=heads,
                num_kv_heads=heads,
                head_dim=read.head_dim(hidden, "n_head"),
                hidden_size=hidden,
                vocab_size=read.size("vocab_size"),
                max_positions=read.size("n_positions"),
            ),
            intermediate_size=read.size("n_inner", default=4 * hidden),
            activation=read_activation(read, "activation_function", "gelu_new"),
            norm_eps=float(config.get("layer_norm_epsilon", 1e-5)),
            tied=read.flag("tie_word_embeddings", default=True),
        )


@dataclass(frozen=True)
class GPT2Layer:
    """One layer: x + attention(norm(x)), then x + feed_forward(norm(x))."""

    attention_norm: Norm
    attention: SelfAttention
    feed_forward_norm: Norm
    feed_forward: FeedForward

    @classmethod
    def allocate(cls, config: GPT2Config, new: New) -> GPT2Layer:
        hidden, inner = config.shape.hidden_size, config.intermediate_size
        return cls(
            Norm.allocate(hidden, config.norm_eps, new),
            SelfAttention.allocate(hidden, config.shape.num_heads, new),
            Norm.allocate(hidden, config.norm_eps, new),
            FeedForward.allocate(hidden, inner, config.activation, new),
        )

    def slots(self, name: str) -> Iterator[tuple[str, Slot]]:
        affines = {
            "attn.c_attn": self.attention.qkv,
            "attn.c_proj": self.attention.out,
            "mlp.c_fc": self.feed_forward.up,
            "mlp.c_proj": self.feed_forward.down,
        }
        for part, affine in affines.items():
            yield from affine.slots(f"{name}.{part}", Slot.transposed)
        yield from self.attention_norm.slots(f"{name}.ln_1")
        yield from self.feed_forward_norm.slots(f"{name}.ln_2")


@register("gpt2")
class GPT2Model(PackedDecoder):
    """GPT-2 with packed weights; see `DecoderModel` for its methods."""

    def __init__(self, config: Mapping[str, Any], new: New) -> None:
        self._config = GPT2Config.from_hugging_face(config)
        shape = self._config.shape
        super().__init__(shape, self._config.tied, new)
        self._positions = new(shape.max_positions, shape.hidden_size)
        self._layers = [GPT2Layer.allocate(self._config, new) for _ in range(shape.num_layers)]
        self._final_norm = Norm.allocate(shape.hidden_size, self._config.norm_eps, new)

    def load(self, checkpoint: Checkpoint) -> None:
        check_same(self._config, GPT2Config.from_hugging_face(checkpoint.config))
        fill(dict(self.slots()), checkpoint.renamed(self._own_name))

    def _own_name(self, name: str) -> str | None:
        """Prefixed or not; older checkpoints hold the causal mask as well."""
        name = name.removeprefix("transformer.")
        if name == "lm_head.weight" and self._config.tied:
            return "wte.weight"
        return None if name.endswith((".attn.bias", ".attn.masked_bias")) else name

    def slots(self) -> Iterator[tuple[str, Slot]]:
        yield "wte.weight", Slot.whole(self._embedding)
        yield "wpe.weight", Slot.whole(self._positions)
        if not self._config.tied:
            yield "lm_head.weight", Slot.whole(self._head)
        for index, layer in enumerate(self._layers):
            yield from layer.slots(f"h.{index}")
        yield from self._final_norm.slots("ln_f")

    def forward(
        self,
        hidden: torch.Tensor,
        positions: torch.Tensor,
        attention: DecoderAttention,
        last: torch.Tensor | None = None,
    ) -> torch.Tensor:
        hidden = hidden + F.embedding(positions, self._positions)
        final = len(self._layers) - 1
        normed = self._layers[0].attention_norm(hidden)
        next_norms = [*(layer.attention_norm for layer in self._layers[1:]), self._final_norm]
        for index, (layer, next_norm) in enumerate(zip(self._layers, next_norms, strict=True)):
            query, key, value = layer.attention.project(normed)
            if last is not None and index == final:
                hidden, query = at_last(hidden, last), at_last(query, last)
            mixed = attention(index, query, key, value)
            norm, out = layer.feed_forward_norm, layer.attention.out
            hidden, normed = out.added_and_normed(hidden, mixed, norm)
            hidden, normed = layer.feed_forward.added_and_normed(hidden, normed, next_norm)
        return normed
