"""BART and mBART: an encoder reads the prompt, a decoder with cross-attention generates."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812

from onesearch_fast.errors import invalid
from onesearch_fast.models.activations import Activation, read_activation
from onesearch_fast.models.checkpoint import Checkpoint
from onesearch_fast.models.config import ConfigReader, check_same
from onesearch_fast.models.decoder import Attention, DecoderAttention, DecoderShape
from onesearch_fast.models.layers import (
    Affine,
    FeedForward,
    New,
    Norm,
    PackedDecoder,
    SelfAttention,
    at_last,
)
from onesearch_fast.models.packing import Slot, fill
from onesearch_fast.models.registry import register

_NORM_EPS = 1e-5
# The first two rows of a position table stand for no position.
_POSITION_OFFSET = 2
# One matrix under four names, of which a checkpoint keeps one or more.
_TOKEN_TABLE = "shared.weight"
_TIED_TO_IT = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight")


@dataclass(frozen=True)
class HalfSize:
    """The sizes in which encoder and decoder may differ."""

    num_layers: int
    num_heads: int
    intermediate_size: int

    @classmethod
    def of(cls, half: str, read: ConfigReader) -> HalfSize:
        names = ("layers", "attention_heads", "ffn_dim")
        return cls(*(read.size(f"{half}_{name}") for name in names))


@dataclass(frozen=True)
class BartConfig:
    """What is read from a Hugging Face config."""

    shape: DecoderShape
    encoder: HalfSize
    decoder: HalfSize
    activation: Activation
    embedding_scale: float
    norm_first: bool
    decoder_prefix_ids: tuple[int, ...]

    @classmethod
    def from_hugging_face(cls, config: Mapping[str, Any]) -> BartConfig:
        """Raises ValueError naming a key that is missing or asks for what is not served."""
        read = ConfigReader("BartConfig", config)
        read.one_of("tie_word_embeddings", [True], True)
        hidden, decoder = read.size("d_model"), HalfSize.of("decoder", read)
        read.head_dim(hidden, "encoder_attention_heads")
        shape = DecoderShape(
            num_layers=decoder.num_layers,
            num_heads=decoder.num_heads,
            num_kv_heads=decoder.num_heads,
            head_dim=read.head_dim(hidden, "decoder_attention_heads"),
            hidden_size=hidden,
            vocab_size=read.size("vocab_size"),
            max_positions=read.size("max_position_embeddings"),
        )
        return cls(
            shape=shape,
            encoder=HalfSize.of("encoder", read),
            decoder=decoder,
            activation=read_activation(read, "activation_function", "gelu"),
            embedding_scale=math.sqrt(hidden) if read.flag("scale_embedding") else 1.0,
            norm_first=config["model_type"] == "mbart",
            decoder_prefix_ids=_decoder_prefix_ids(read, shape.vocab_size),
        )


def _decoder_prefix_ids(read: ConfigReader, vocab_size: int) -> tuple[int, ...]:
    ids = read.config.get("decoder_prefix_ids")
    if not ids or not all(isinstance(one, int) and 0 <= one < vocab_size for one in ids):
        expected = f"at least one token id below {vocab_size}"
        remedy = "name the decoder's start tokens in config.json, or decoder_start_token_id"
        raise invalid(read.where, "decoder_prefix_ids", expected, ids, remedy)
    return tuple(ids)


@dataclass(frozen=True)
class Residual:
    """norm(x + f(x)), or x + f(norm(x)) with `norm_first`."""

    norm: Norm
    norm_first: bool

    @classmethod
    def allocate(cls, config: BartConfig, new: New) -> Residual:
        norm = Norm.allocate(config.shape.hidden_size, _NORM_EPS, new)
        return cls(norm, config.norm_first)

    def before(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(x) if self.norm_first else x

    def join(self, end: Affine | FeedForward, x: torch.Tensor, made: torch.Tensor) -> torch.Tensor:
        """What leaves the sublayer: `end` is the last product of f, which takes `made`."""
        if self.norm_first:
            return end.added_to(x, made)
        return end.added_and_normed(x, made, self.norm)[1]


@dataclass(frozen=True)
class CrossAttention:
    """The projections around an attention to the encoded prompt."""

    query: Affine  # [hidden, hidden]
    key_value: Affine  # [2 * hidden, hidden]
    out: Affine  # [hidden, hidden]
    num_heads: int

    @classmethod
    def allocate(cls, hidden: int, num_heads: int, new: New) -> CrossAttention:
        return cls(
            Affine.allocate(hidden, hidden, new),
            Affine.allocate(2 * hidden, hidden, new),
            Affine.allocate(hidden, hidden, new),
            num_heads,
        )

    def project(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, token, hidden] -> query [batch, token, head, head_dim]."""
        return self.query(x).view(*x.shape[:2], self.num_heads, -1)

    def project_encoded(self, encoded: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """[batch, prompt, hidden] -> key, value [batch, prompt, head, head_dim]."""
        packed = self.key_value(encoded).view(*encoded.shape[:2], 2, self.num_heads, -1)
        return packed[:, :, 0], packed[:, :, 1]


@dataclass(frozen=True)
class BartLayer:
    """A layer of the encoder."""

    attention: SelfAttention
    attention_residual: Residual
    feed_forward: FeedForward
    feed_forward_residual: Residual

    @classmethod
    def allocate(cls, config: BartConfig, half: HalfSize, new: New) -> BartLayer:
        hidden = config.shape.hidden_size
        return cls(
            SelfAttention.allocate(hidden, half.num_heads, new),
            Residual.allocate(config, new),
            FeedForward.allocate(hidden, half.intermediate_size, config.activation, new),
            Residual.allocate(config, new),
        )

    def attend(
        self,
        index: int,
        hidden: torch.Tensor,
        attention: Attention,
        last: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Self-attention; with `last`, of one token a request."""
        query, key, value = self.attention.project(self.attention_residual.before(hidden))
        if last is not None:
            hidden, query = at_last(hidden, last), at_last(query, last)
        mixed = attention(index, query, key, value)
        return self.attention_residual.join(self.attention.out, hidden, mixed)

    def feed(self, hidden: torch.Tensor) -> torch.Tensor:
        residual = self.feed_forward_residual
        return residual.join(self.feed_forward, hidden, residual.before(hidden))

    def slots(self, name: str) -> Iterator[tuple[str, Slot]]:
        names = ("q_proj", "k_proj", "v_proj")
        size = len(self.attention.out.weight)
        for part, affine in zip(names, self.attention.qkv.split([size] * 3), strict=True):
            yield from affine.slots(f"{name}.self_attn.{part}")
        yield from self.attention.out.slots(f"{name}.self_attn.out_proj")
        yield from self.attention_residual.norm.slots(f"{name}.self_attn_layer_norm")
        yield from self.feed_forward.up.slots(f"{name}.fc1")
        yield from self.feed_forward.down.slots(f"{name}.fc2")
        yield from self.feed_forward_residual.norm.slots(f"{name}.final_layer_norm")


@dataclass(frozen=True)
class BartDecoderLayer(BartLayer):
    """A layer of the decoder: between attention and feed-forward it looks at the prompt."""

    cross: CrossAttention
    cross_residual: Residual

    @classmethod
    def allocate(cls, config: BartConfig, half: HalfSize, new: New) -> BartDecoderLayer:
        alike = BartLayer.allocate(config, half, new)
        return cls(
            alike.attention,
            alike.attention_residual,
            alike.feed_forward,
            alike.feed_forward_residual,
            CrossAttention.allocate(config.shape.hidden_size, half.num_heads, new),
            Residual.allocate(config, new),
        )

    def attend_to_prompt(
        self, index: int, hidden: torch.Tensor, attention: DecoderAttention
    ) -> torch.Tensor:
        query = self.cross.project(self.cross_residual.before(hidden))
        mixed = attention.cross(index, query)
        return self.cross_residual.join(self.cross.out, hidden, mixed)

    def slots(self, name: str) -> Iterator[tuple[str, Slot]]:
        yield from super().slots(name)
        size = len(self.cross.out.weight)
        key, value = self.cross.key_value.split([size] * 2)
        yield from self.cross.query.slots(f"{name}.encoder_attn.q_proj")
        yield from key.slots(f"{name}.encoder_attn.k_proj")
        yield from value.slots(f"{name}.encoder_attn.v_proj")
        yield from self.cross.out.slots(f"{name}.encoder_attn.out_proj")
        yield from self.cross_residual.norm.slots(f"{name}.encoder_attn_layer_norm")


@dataclass(frozen=True)
class Ends:
    """What stands around the layers of either half: positions and norms."""

    positions: torch.Tensor  # [_POSITION_OFFSET + max_positions, hidden]
    embedding_norm: Norm
    final_norm: Norm | None

    @classmethod
    def allocate(cls, config: BartConfig, new: New) -> Ends:
        hidden = config.shape.hidden_size
        return cls(
            new(_POSITION_OFFSET + config.shape.max_positions, hidden),
            Norm.allocate(hidden, _NORM_EPS, new),
            Norm.allocate(hidden, _NORM_EPS, new) if config.norm_first else None,
        )

    def begin(self, hidden: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        return self.embedding_norm(
            hidden + F.embedding(positions + _POSITION_OFFSET, self.positions)
        )

    def finish(self, hidden: torch.Tensor) -> torch.Tensor:
        return hidden if self.final_norm is None else self.final_norm(hidden)

    def slots(self, name: str) -> Iterator[tuple[str, Slot]]:
        yield f"{name}.embed_positions.weight", Slot.whole(self.positions)
        yield from self.embedding_norm.slots(f"{name}.layernorm_embedding")
        if self.final_norm is not None:
            yield from self.final_norm.slots(f"{name}.layer_norm")


class BartEncoder:
    """See `Encoder`; keys and values of cross-attention are made by the decoder's layers."""

    def __init__(self, config: BartConfig, decoder: list[BartDecoderLayer], new: New) -> None:
        self._ends = Ends.allocate(config, new)
        half = config.encoder
        self._layers = [BartLayer.allocate(config, half, new) for _ in range(half.num_layers)]
        self._decoder = decoder
        self._max_positions = config.shape.max_positions

    @property
    def max_positions(self) -> int:
        return self._max_positions

    def encode(self, hidden: torch.Tensor, attention: Attention) -> torch.Tensor:
        positions = torch.arange(hidden.shape[1], device=hidden.device)
        hidden = self._ends.begin(hidden, positions)
        for index, layer in enumerate(self._layers):
            hidden = layer.feed(layer.attend(index, hidden, attention))
        return self._ends.finish(hidden)

    def cross_key_value(
        self, layer: int, encoded: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return self._decoder[layer].cross.project_encoded(encoded)

    def slots(self) -> Iterator[tuple[str, Slot]]:
        yield from self._ends.slots("encoder")
        for index, layer in enumerate(self._layers):
            yield from layer.slots(f"encoder.layers.{index}")


@register("bart", "mbart")
class BartModel(PackedDecoder):
    """BART with packed weights; see `DecoderModel` for its methods."""

    encoder: BartEncoder
    _logits_bias: torch.Tensor

    def __init__(self, config: Mapping[str, Any], new: New) -> None:
        self._config = BartConfig.from_hugging_face(config)
        half = self._config.decoder
        super().__init__(self._config.shape, tied=True, new=new)
        self._logits_bias = new(self._config.shape.vocab_size)
        self._ends = Ends.allocate(self._config, new)
        self._layers = [
            BartDecoderLayer.allocate(self._config, half, new) for _ in range(half.num_layers)
        ]
        self.encoder = BartEncoder(self._config, self._layers, new)
        self.decoder_prefix_ids = self._config.decoder_prefix_ids

    def load(self, checkpoint: Checkpoint) -> None:
        check_same(self._config, BartConfig.from_hugging_face(checkpoint.config))
        fill(dict(self.slots()), checkpoint.renamed(_own_name))

    def slots(self) -> Iterator[tuple[str, Slot]]:
        yield _TOKEN_TABLE, Slot.whole(self._embedding)
        bias = self._logits_bias
        yield "final_logits_bias", Slot((1, len(bias)), (len(bias),), bias, optional=True)
        yield from self.encoder.slots()
        yield from self._ends.slots("decoder")
        for index, layer in enumerate(self._layers):
            yield from layer.slots(f"decoder.layers.{index}")

    def embed(self, tokens: torch.Tensor) -> torch.Tensor:
        return super().embed(tokens) * self._config.embedding_scale

    def forward(
        self,
        hidden: torch.Tensor,
        positions: torch.Tensor,
        attention: DecoderAttention,
        last: torch.Tensor | None = None,
    ) -> torch.Tensor:
        hidden = self._ends.begin(hidden, positions)
        final = len(self._layers) - 1
        for index, layer in enumerate(self._layers):
            hidden = layer.attend(index, hidden, attention, last if index == final else None)
            hidden = layer.attend_to_prompt(index, hidden, attention)
            hidden = layer.feed(hidden)
        return self._ends.finish(hidden)


def _own_name(name: str) -> str:
    """Prefixed or not, and the token table by its first name."""
    name = name.removeprefix("model.")
    return _TOKEN_TABLE if name in _TIED_TO_IT else name
