"""The Llama family: RMSNorm, rotary positions, grouped-query attention, SwiGLU."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from onesearch_fast.errors import invalid
from onesearch_fast.models.activations import SILU
from onesearch_fast.models.checkpoint import Checkpoint
from onesearch_fast.models.config import ConfigReader, check_same
from onesearch_fast.models.decoder import DecoderAttention, DecoderShape
from onesearch_fast.models.layers import Affine, New, PackedDecoder, at_last
from onesearch_fast.models.packing import Slot, fill
from onesearch_fast.models.registry import register
from onesearch_fast.ops import rms_norm, rotary

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

    input_norm: torch.Tensor  # [hidden]
    qkv: Affine  # [(heads + 2 kv_heads) * head_dim, hidden]
    query_key_norm: torch.Tensor | None  # [heads + kv_heads, head_dim]
    out: Affine  # [hidden, heads * head_dim]
    mlp_norm: torch.Tensor  # [hidden]
    gate: Affine  # [intermediate, hidden]
    up: Affine  # [intermediate, hidden]
    down: Affine  # [hidden, intermediate]

    @classmethod
    def allocate(cls, config: LlamaConfig, new: New) -> LlamaLayer:
        s = config.shape
        hidden, inner = s.hidden_size, config.intermediate_size
        rotated = s.num_heads + s.num_kv_heads
        qkv = (rotated + s.num_kv_heads) * s.head_dim
        return cls(
            input_norm=new(hidden),
            qkv=Affine.allocate(qkv, hidden, new, config.qkv_bias),
            query_key_norm=new(rotated, s.head_dim) if config.query_key_norm else None,
            out=Affine.allocate(hidden, s.num_heads * s.head_dim, new, config.out_bias),
            mlp_norm=new(hidden),
            gate=Affine.allocate(inner, hidden, new, config.mlp_bias),
            up=Affine.allocate(inner, hidden, new, config.mlp_bias),
            down=Affine.allocate(hidden, inner, new, config.mlp_bias),
        )

    def slots(self, shape: DecoderShape) -> Iterator[tuple[str, Slot]]:
        """Checkpoint name (within the layer) -> where it goes."""
        yield "input_layernorm.weight", Slot.whole(self.input_norm)
        yield "post_attention_layernorm.weight", Slot.whole(self.mlp_norm)
        heads = shape.num_heads * shape.head_dim
        kv_heads = shape.num_kv_heads * shape.head_dim
        parts = self.qkv.split([heads, kv_heads, kv_heads])
        for name, affine in zip(("q_proj", "k_proj", "v_proj"), parts, strict=True):
            yield from affine.slots(f"self_attn.{name}")
        yield from self.out.slots("self_attn.o_proj")
        yield from self.gate.slots("mlp.gate_proj")
        yield from self.up.slots("mlp.up_proj")
        yield from self.down.slots("mlp.down_proj")
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
        self._final_norm = new(s.hidden_size)
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
        yield "norm.weight", Slot.whole(self._final_norm)
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
        rotation = self._rotation(positions)
        final = len(self._layers) - 1
        for index, layer in enumerate(self._layers):
            query, key, value = self._project(layer, hidden, rotation)
            if last is not None and index == final:
                hidden, query = at_last(hidden, last), at_last(query, last)
            mixed = attention(index, query, key, value)
            hidden = self._finish(layer, hidden, mixed)
        return self._norm(hidden, self._final_norm)

    def _rotation(self, positions: torch.Tensor) -> torch.Tensor:
        """Cosines and sines of position times frequency: [batch, token, head_dim] float32."""
        angles = positions.unsqueeze(-1).to(torch.float32) * self._frequencies
        return torch.cat((angles.cos(), angles.sin()), dim=-1)

    def _norm(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        rows = x.reshape(-1, x.shape[-1])
        return rms_norm(rows, weight, self._config.norm_eps).view(x.shape)

    def _project(
        self, layer: LlamaLayer, hidden: torch.Tensor, rotation: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        s = self.shape
        packed = layer.qkv(self._norm(hidden, layer.input_norm))
        heads = packed.view(*hidden.shape[:2], -1, s.head_dim)
        sizes = [s.num_heads + s.num_kv_heads, s.num_kv_heads]
        rotated, value = torch.split(heads, sizes, dim=2)
        shared = rotation.expand(*hidden.shape[:2], -1)
        rotary(rotated, shared, layer.query_key_norm, self._config.norm_eps, out=rotated)
        return rotated[:, :, : s.num_heads], rotated[:, :, s.num_heads :], value

    def _finish(self, layer: LlamaLayer, hidden: torch.Tensor, mixed: torch.Tensor) -> torch.Tensor:
        """The layer after attention: output projection, SwiGLU, both residual sums."""
        hidden = layer.out.added_to(hidden, mixed)
        normed = self._norm(hidden, layer.mlp_norm)
        gated = layer.up.multiplied_by(layer.gate(normed, SILU), normed)
        return layer.down.added_to(hidden, gated)
