"""Weights of layers in 8 bits, with a scale for every output."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from onesearch_fast.errors import invalid
from onesearch_fast.ops import pack_int8_weight
from onesearch_fast.ops.int8_linear import BLOCK_IN, BLOCK_OUT


@dataclass(frozen=True)
class Int8Weight:
    """What stands in the place of a weight [out, in]; it is rounded as it is copied in.

    Attributes:
        packed, scale: [out / 16, in / 4, 16, 4] uint8 and [out] float32, see `ops.int8_linear`.
        transposed: whether a checkpoint holds it as [in, out].
    """

    packed: torch.Tensor
    scale: torch.Tensor
    transposed: bool = False

    @classmethod
    def allocate(cls, rows: int, columns: int, device: torch.device) -> Int8Weight:
        _check_blocks(rows)
        _check_blocks(columns)
        sizes = (rows // BLOCK_OUT, columns // BLOCK_IN, BLOCK_OUT, BLOCK_IN)
        packed = torch.empty(sizes, dtype=torch.uint8, device=device)
        return cls(packed, torch.empty(rows, dtype=torch.float32, device=device))

    def __len__(self) -> int:
        return len(self.scale)

    @property
    def shape(self) -> tuple[int, int]:
        """As a checkpoint holds it."""
        sizes = len(self.scale), self.packed.shape[1] * BLOCK_IN
        return sizes[::-1] if self.transposed else sizes

    @property
    def nbytes(self) -> int:
        return self.packed.nbytes + self.scale.nbytes

    def t(self) -> Int8Weight:
        """The same weight, of a checkpoint that holds it the other way round."""
        return replace(self, transposed=not self.transposed)

    def split(self, sizes: list[int]) -> list[Int8Weight]:
        """Consecutive ranges of outputs, as views."""
        for size in sizes:
            _check_blocks(size)
        packed = torch.split(self.packed, [size // BLOCK_OUT for size in sizes])
        scales = torch.split(self.scale, sizes)
        return [Int8Weight(*part) for part in zip(packed, scales, strict=True)]

    def copy_(self, weight: torch.Tensor) -> None:
        """Rounds `weight`, as a checkpoint holds it."""
        packed, scale = pack_int8_weight(weight.t() if self.transposed else weight)
        self.packed.copy_(packed)
        self.scale.copy_(scale)


def _check_blocks(size: int) -> None:
    if size % BLOCK_OUT:
        expected = f"sizes of layers, and of their heads together, in multiples of {BLOCK_OUT}"
        remedy = "serve this model without quantization"
        raise invalid("load_model", "quantization", expected, size, remedy)
