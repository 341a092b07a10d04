"""What architectures are built from: packed weights, and what is computed with them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812

from onesearch_fast.models.activations import SILU, Activation
from onesearch_fast.models.decoder import DecoderShape, Encoder
from onesearch_fast.models.int8_weight import Int8Weight
from onesearch_fast.models.linear import Weight, ends_in_products, linear, linear_add, linear_mul
from onesearch_fast.models.onednn_weight import OnednnWeight
from onesearch_fast.models.packing import Slot
from onesearch_fast.ops import add_norm, rms_norm, swiglu

MakeSlot = Callable[[Any], Slot]


@dataclass(frozen=True)
class New:
    """Memory for the weights of a model, which a checkpoint is then copied into.

    Attributes:
        dtype, device: of the weights, and of what is computed with them.
        quantization: "int8" for the products of layers in 8 bits; embeddings, norms, biases and the
            output matrix stay in `dtype`.
    """

    dtype: torch.dtype
    device: torch.device
    quantization: str | None = None

    def __call__(self, *sizes: int) -> torch.Tensor:
        return torch.empty(sizes, dtype=self.dtype, device=self.device)

    def matrix(self, rows: int, columns: int) -> Weight:
        """Of a product of a layer."""
        if self.quantization == "int8":
            return Int8Weight.allocate(rows, columns, self.device)
        if OnednnWeight.serves(self.dtype, self.device):
            return OnednnWeight.allocate(rows, columns, self.dtype)
        return self(rows, columns)


class PackedDecoder(ABC):
    """The vocabulary's ends of a decoder: tokens to embeddings, and hidden states to logits.

    Args:
        shape: the decoder's sizes.
        tied: whether the output matrix is the embedding.
        new: allocates weights.
    """

    encoder: Encoder | None = None
    decoder_prefix_ids: tuple[int, ...] = ()

    # A bias of every logit, for an architecture that has one.
    _logits_bias: torch.Tensor | None = None

    def __init__(self, shape: DecoderShape, tied: bool, new: New) -> None:
        self._shape = shape
        self._embedding = new(shape.vocab_size, shape.hidden_size)
        self._head = self._embedding if tied else torch.empty_like(self._embedding)

    @property
    def shape(self) -> DecoderShape:
        return self._shape

    @property
    def dtype(self) -> torch.dtype:
        return self._embedding.dtype

    @property
    def device(self) -> torch.device:
        return self._embedding.device

    @property
    def nbytes(self) -> int:
        return sum(slot.view.nbytes for _, slot in self.slots())

    @abstractmethod
    def slots(self) -> Iterator[tuple[str, Slot]]:
        """Name of each tensor of a checkpoint -> where it goes."""

    def embed(self, tokens: torch.Tensor) -> torch.Tensor:
        return F.embedding(tokens, self._embedding)

    def logits(self, hidden: torch.Tensor, begin: int, end: int) -> torch.Tensor:
        bias = None if self._logits_bias is None else self._logits_bias[begin:end]
        rows = linear(hidden.reshape(-1, hidden.shape[-1]), self._head[begin:end], bias)
        return rows.view(*hidden.shape[:-1], end - begin)


def at_last(x: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
    """One token of each request: x [batch, token, ...], last [batch] -> [batch, 1, ...]."""
    return x[torch.arange(len(last), device=last.device), last].unsqueeze(1)


@dataclass(frozen=True)
class Norm:
    """Of rows, by the root of their mean square, or with a bias, LayerNorm; see `ops.add_norm`."""

    weight: torch.Tensor  # [hidden]
    bias: torch.Tensor | None
    eps: float

    @classmethod
    def allocate(cls, hidden: int, eps: float, new: New, has_bias: bool = True) -> Norm:
        return cls(new(hidden), new(hidden) if has_bias else None, eps)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """In the shape of x [..., hidden]."""
        if self.bias is None:
            rows = x.reshape(-1, x.shape[-1])
            return rms_norm(rows, self.weight, self.eps).view(x.shape)
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)

    def of_sum(
        self, residual: torch.Tensor, rows: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """residual + rows and its norm, in the shape of `residual`."""
        kept = residual.reshape(-1, residual.shape[-1])
        made = add_norm(rows.view(kept.shape), kept, self.weight, self.bias, self.eps)
        return made.sum.view(residual.shape), made.normed.view(residual.shape)

    def slots(self, name: str) -> Iterator[tuple[str, Slot]]:
        yield f"{name}.weight", Slot.whole(self.weight)
        if self.bias is not None:
            yield f"{name}.bias", Slot.whole(self.bias)


@dataclass(frozen=True)
class Affine:
    """x W^T + b; weight [out, in], bias [out] or None."""

    weight: Weight
    bias: torch.Tensor | None

    @classmethod
    def allocate(
        cls, out_features: int, in_features: int, new: New, has_bias: bool = True
    ) -> Affine:
        return cls(new.matrix(out_features, in_features), new(out_features) if has_bias else None)

    def __call__(self, x: torch.Tensor, activation: Activation | None = None) -> torch.Tensor:
        """[..., in] -> [..., out]."""
        rows = linear(x.reshape(-1, x.shape[-1]), self.weight, self.bias, activation)
        return rows.view(*x.shape[:-1], -1)

    def added_to(self, residual: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """residual + x W^T + b, in the shape of `residual`; axes of x may be split otherwise."""
        rows = residual.reshape(-1, residual.shape[-1])
        inputs = x.reshape(len(rows), -1)
        return linear_add(inputs, self.weight, self.bias, rows).view(residual.shape)

    def added_and_normed(
        self, residual: torch.Tensor, x: torch.Tensor, norm: Norm
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """`added_to`, and its norm: the sum goes into the product or else into the norm."""
        if ends_in_products(x.device):
            total = self.added_to(residual, x)
            return total, norm(total)
        inputs = x.reshape(-1, self.weight.shape[1])
        return norm.of_sum(residual, linear(inputs, self.weight, self.bias))

    def multiplied_by(self, factor: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """factor * (x W^T + b), elementwise."""
        rows = factor.reshape(-1, factor.shape[-1])
        inputs = x.reshape(len(rows), -1)
        return linear_mul(inputs, self.weight, self.bias, rows).view(factor.shape)

    def split(self, sizes: list[int]) -> list[Affine]:
        """Consecutive ranges of output rows, as views."""
        weights = self.weight.split(sizes)
        biases = [None] * len(sizes) if self.bias is None else torch.split(self.bias, sizes)
        return [Affine(weight, bias) for weight, bias in zip(weights, biases, strict=True)]

    def slots(
        self, name: str, weight_slot: MakeSlot = Slot.whole, bias_slot: MakeSlot = Slot.whole
    ) -> Iterator[tuple[str, Slot]]:
        """How a checkpoint holds them: the weight as [out, in], unless `weight_slot` differs."""
        yield f"{name}.weight", weight_slot(self.weight)
        if self.bias is not None:
            yield f"{name}.bias", bias_slot(self.bias)


@dataclass(frozen=True)
class SelfAttention:
    """The projections around an attention: query, key and value in one product."""

    qkv: Affine  # [3 * hidden, hidden]
    out: Affine  # [hidden, hidden]
    num_heads: int

    @classmethod
    def allocate(cls, hidden: int, num_heads: int, new: New) -> SelfAttention:
        return cls(
            Affine.allocate(3 * hidden, hidden, new),
            Affine.allocate(hidden, hidden, new),
            num_heads,
        )

    def project(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """[batch, token, hidden] -> query, key, value [batch, token, head, head_dim]."""
        packed = self.qkv(x).view(*x.shape[:2], 3, self.num_heads, -1)
        return packed[:, :, 0], packed[:, :, 1], packed[:, :, 2]


@dataclass(frozen=True)
class FeedForward:
    """down(activation(up(x)))."""

    up: Affine  # [intermediate, hidden]
    down: Affine  # [hidden, intermediate]
    activation: Activation

    @classmethod
    def allocate(
        cls, hidden: int, intermediate: int, activation: Activation, new: New
    ) -> FeedForward:
        return cls(
            Affine.allocate(intermediate, hidden, new),
            Affine.allocate(hidden, intermediate, new),
            activation,
        )

    def added_to(self, residual: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return self.down.added_to(residual, self.up(x, self.activation))

    def added_and_normed(
        self, residual: torch.Tensor, x: torch.Tensor, norm: Norm
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return self.down.added_and_normed(residual, self.up(x, self.activation), norm)


@dataclass(frozen=True)
class GatedFeedForward:
    """down(silu(gate(x)) * up(x)).

    Attributes:
        gate_up: [2 * intermediate, hidden], gate and up as one; None where products take in what
            follows them, and are two.
    """

    gate_up: Affine | None
    gate: Affine  # [intermediate, hidden]
    up: Affine
    down: Affine  # [hidden, intermediate]

    @classmethod
    def allocate(cls, hidden: int, inner: int, new: New, has_bias: bool) -> GatedFeedForward:
        down = Affine.allocate(hidden, inner, new, has_bias)
        if ends_in_products(new.device):
            gate, up = (Affine.allocate(inner, hidden, new, has_bias) for _ in range(2))
            return cls(None, gate, up, down)
        gate_up = Affine.allocate(2 * inner, hidden, new, has_bias)
        gate, up = gate_up.split([inner, inner])
        return cls(gate_up, gate, up, down)

    def added_and_normed(
        self, residual: torch.Tensor, x: torch.Tensor, norm: Norm
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return self.down.added_and_normed(residual, self._gated(x), norm)

    def _gated(self, x: torch.Tensor) -> torch.Tensor:
        if self.gate_up is None:
            return self.up.multiplied_by(self.gate(x, SILU), x)
        return swiglu(self.gate_up(x.reshape(-1, x.shape[-1])))

    def slots(self, name: str) -> Iterator[tuple[str, Slot]]:
        yield from self.gate.slots(f"{name}.gate_proj")
        yield from self.up.slots(f"{name}.up_proj")
        yield from self.down.slots(f"{name}.down_proj")
