"""The Llama family: RMSNorm, rotary positions, grouped-query attention, SwiGLU."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from onesearch_fast.errors import invalid
from onesearch_fast.models.checkpoint import Checkpoint
from onesearch_fast.models.config import ConfigReader, check_same
from onesearch_fast.models.decoder import DecoderAttention, DecoderShape
from onesearch_fast.models.layers import (
    Affine,
    GatedFeedForward,
    New,
    Norm,
    PackedDecoder,
    at_last,
)
from onesearch_fast.models.packing import Slot, fill
from onesearch_fast.models.registry import register
from onesearch_fast.ops import QueryKeyValue, rotary

_WHERE = "LlamaConfig"


@dataclass(frozen=True)
class LlamaConfig:
    """What the family's members differ in, read from a Hugging Face config."""

    shape: DecoderShape
    intermediate_size: int
    norm_eps: float
    rope_theta: float
    tied: bool
    query_key_norm: bool
    qkv_bias: bool
    out_bias: bool
    mlp_bias: bool

    @classmethod
    def from_hugging_face(cls, config: Mapping[str, Any]) -> LlamaConfig:
        """Raises ValueError naming a key that is missing or asks for what is not served."""
        _refuse_unserved(config)
        read, model_type = ConfigReader(_WHERE, config), config["model_type"]
        attention_bias = read.flag("attention_bias")
        return cls(
            shape=_shape(read),
            intermediate_size=read.size("intermediate_size"),
            norm_eps=float(config.get("rms_norm_eps", 1e-6)),
            rope_theta=_rope_theta(config),
            tied=read.flag("tie_word_embeddings"),
            query_key_norm=model_type == "qwen3",
            qkv_bias=model_type == "qwen2" or attention_bias,
            out_bias=model_type != "qwen2" and attention_bias,
            mlp_bias=model_type == "llama" and read.flag("mlp_bias"),
        )


def _shape(read: ConfigReader) -> DecoderShape:
    heads, hidden = read.size("num_attention_heads"), read.size("hidden_size")
    kv_heads = read.size("num_key_value_heads", default=heads)
    head_dim = read.size("head_dim", default=hidden // heads)
    if heads % kv_heads:
        expected = f"a divisor of num_attention_heads ({heads})"
        raise invalid(_WHERE, "num_key_value_heads", expected, kv_heads)
    if head_dim % 2:
        raise invalid(_WHERE, "head_dim", "an even number, for rotary positions", head_dim)
    return DecoderShape(
        num_layers=read.size("num_hidden_layers"),
        num_heads=heads,
        num_kv_heads=kv_heads,
        head_dim=head_dim,
        hidden_size=hidden,
        vocab_size=read.size("vocab_size"),
        max_positions=read.size("max_position_embeddings"),
    )


def _rope_theta(config: Mapping[str, Any]) -> float:
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    theta = rope.get("rope_theta", config.get("rope_theta", 10000.0))
    return float(theta)


def _refuse_unserved(config: Mapping[str, Any]) -> None:
    key = "rope_parameters" if config.get("rope_parameters") else "rope_scaling"
    rope = config.get(key) or {}
    scaling = rope.get("rope_type", rope.get("type", "default"))
    if scaling != "default" or any(isinstance(value, dict) for value in rope.values()):
        raise invalid(_WHERE, key, "rope_type 'default'", rope, "scaling is not served")
    for where in (rope, config):
        if where.get("partial_rotary_factor", 1.0) != 1.0:
            got = where["partial_rotary_factor"]
            raise invalid(_WHERE, "partial_rotary_factor", "1.0", got)
    if config.get("hidden_act", "silu") != "silu":
        raise invalid(_WHERE, "hidden_act", "'silu'", config["hidden_act"])
    layer_types = set(config.get("layer_types") or ["full_attention"])
    if layer_types != {"full_attention"} or config.get("use_sliding_window"):
        remedy = "sliding-window attention is not served; set use_sliding_window to false"
        raise invalid(_WHERE, "layer_types", "'full_attention' only", layer_types, remedy)


@dataclass(frozen=True)
class LlamaLayer:
    """Packed weights of one layer; rows are outputs."""

    input_norm: Norm
    qkv: Affine  # [(heads + 2 kv_heads) * head_dim, hidden]
    query_key_norm: torch.Tensor | None  # [heads + kv_heads, head_dim]
    out: Affine  # [hidden, heads * head_dim]
    mlp_norm: Norm
    mlp: GatedFeedForward

    @classmethod
    def allocate(cls, config: LlamaConfig, new: New) -> LlamaLayer:
        s = config.shape
        hidden, inner = s.hidden_size, config.intermediate_size
        rotated = s.num_heads + s.num_kv_heads
        qkv = (rotated + s.num_kv_heads) * s.head_dim
        norms = [Norm.allocate(hidden, config.norm_eps, new, has_bias=False) for _ in range(2)]
        return cls(
            input_norm=norms[0],
            qkv=Affine.allocate(qkv, hidden, new, config.qkv_bias),
            query_key_norm=new(rotated, s.head_dim) if config.query_key_norm else None,
            out=Affine.allocate(hidden, s.num_heads * s.head_dim, new, config.out_bias),
            mlp_norm=norms[1],
            mlp=GatedFeedForward.allocate(hidden, inner, new, config.mlp_bias),
        )

    def slots(self, shape: DecoderShape) -> Iterator[tuple[str, Slot]]:
        """Checkpoint name (within the layer) -> where it goes."""
        yield from self.input_norm.slots("input_layernorm")
        yield from self.mlp_norm.slots("post_attention_layernorm")
        heads = shape.num_heads * shape.head_dim
        kv_heads = shape.num_kv_heads * shape.head_dim
        parts = self.qkv.split([heads, kv_heads, kv_heads])
        for name, affine in zip(("q_proj", "k_proj", "v_proj"), parts, strict=True):
            yield from affine.slots(f"self_attn.{name}")
        yield from self.out.slots("self_attn.o_proj")
        yield from self.mlp.slots("mlp")
        if self.query_key_norm is not None:
            heads_of = [shape.num_heads, shape.num_kv_heads]
            query_norm, key_norm = torch.split(self.query_key_norm, heads_of)
            yield "self_attn.q_norm.weight", Slot.repeated(query_norm)
            yield "self_attn.k_norm.weight", Slot.repeated(key_norm)


@register("llama", "qwen2", "qwen3")
class LlamaModel(PackedDecoder):
    """A Llama-type decoder with packed weights; see `DecoderModel` for its methods."""

    def __init__(self, config: Mapping[str, Any], new: New) -> None:
        self._config = LlamaConfig.from_hugging_face(config)
        s = self._config.shape
        super().__init__(s, self._config.tied, new)
        self._layers = [LlamaLayer.allocate(self._config, new) for _ in range(s.num_layers)]
        self._final_norm = Norm.allocate(s.hidden_size, self._config.norm_eps, new, has_bias=False)
        exponents = torch.arange(0, s.head_dim, 2, dtype=torch.float32, device=new.device)
        exponents /= s.head_dim
        self._frequencies = 1.0 / (self._config.rope_theta**exponents)

    def load(self, checkpoint: Checkpoint) -> None:
        check_same(self._config, LlamaConfig.from_hugging_face(checkpoint.config))
        fill(dict(self.slots()), checkpoint.renamed(self._own_name))

    def _own_name(self, name: str) -> str | None:
        """Prefixed or not; older checkpoints hold the rotary frequencies as well."""
        name = name.removeprefix("model.")
        if name == "lm_head.weight" and self._config.tied:
            return "embed_tokens.weight"
        return None if name.endswith("rotary_emb.inv_freq") else name

    def slots(self) -> Iterator[tuple[str, Slot]]:
        yield "embed_tokens.weight", Slot.whole(self._embedding)
        yield from self._final_norm.slots("norm")
        if not self._config.tied:
            yield "lm_head.weight", Slot.whole(self._head)
        for index, layer in enumerate(self._layers):
            for name, slot in layer.slots(self.shape):
                yield f"layers.{index}.{name}", slot

    def forward(
        self,
        hidden: torch.Tensor,
        positions: torch.Tensor,
        attention: DecoderAttention,
        last: torch.Tensor | None = None,
    ) -> torch.Tensor:
        rotation = self._rotation(positions).expand(*hidden.shape[:2], -1)
        final = len(self._layers) - 1
        normed = self._layers[0].input_norm(hidden)
        next_norms = [*(layer.input_norm for layer in self._layers[1:]), self._final_norm]
        for index, (layer, next_norm) in enumerate(zip(self._layers, next_norms, strict=True)):
            query = self._project(layer, normed, rotation, attention.memory(index))
            if last is not None and index == final:
                hidden, query = at_last(hidden, last), at_last(query, last)
            mixed = attention.attend(index, query)
            hidden, normed = layer.out.added_and_normed(hidden, mixed, layer.mlp_norm)
            hidden, normed = layer.mlp.added_and_normed(hidden, normed, next_norm)
        return normed

    def _rotation(self, positions: torch.Tensor) -> torch.Tensor:
        """Cosines and sines of position times frequency: [batch, token, head_dim] float32."""
        angles = positions.unsqueeze(-1).to(torch.float32) * self._frequencies
        return torch.cat((angles.cos(), angles.sin()), dim=-1)

    def _project(
        self,
        layer: LlamaLayer,
        normed: torch.Tensor,
        rotation: torch.Tensor,
        memory: tuple[torch.Tensor, torch.Tensor],
    ) -> torch.Tensor:
        """The queries [batch, token, head, head_dim]; keys and values go to `memory`."""
        s = self.shape
        heads = layer.qkv(normed).view(*normed.shape[:2], -1, s.head_dim)
        made = QueryKeyValue(heads[:, :, : s.num_heads], *memory)
        norm, eps = layer.query_key_norm, self._config.norm_eps
        return rotary(heads, rotation, norm, eps, s.num_kv_heads, out=made).query
