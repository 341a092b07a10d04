"""Weights of layers in the order in which oneDNN's products on a CPU read them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import accumulate, pairwise
from typing import Any

import torch

# None where torch has been built without oneDNN.
_reorder: Any = None
if torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
    _reorder = getattr(torch.ops.mkldnn, "_reorder_linear_weight", None)

# Rows of the products that a weight is packed for. From 1 to 2,048 rows none was slower by it than
# by a plain weight, nor, past the noise, than by one packed for 1 row.
_ROWS = 256


@dataclass
class _Memory:
    """A weight [rows, columns]; `dense` holds what has been copied in of one not yet whole."""

    rows: int
    columns: int
    dtype: torch.dtype
    packed: torch.Tensor | None = None
    dense: torch.Tensor | None = None
    copied: dict[int, int] = field(default_factory=dict)  # first row -> number of rows

    def copy(self, first: int, weight: torch.Tensor) -> None:
        if self.dense is None:
            self.dense = torch.empty(self.rows, self.columns, dtype=self.dtype)
            self.copied = {}
        self.dense[first : first + len(weight)].copy_(weight)
        self.copied[first] = len(weight)
        if sum(self.copied.values()) == self.rows:
            self.packed, self.dense = _reorder(self.dense, _ROWS), None


@dataclass(frozen=True)
class OnednnWeight:
    """What stands in the place of a weight [out, in], or of a range of its outputs.

    It is packed as soon as all of it has been copied in. oneDNN reorders a plain weight in every
    product anew: in bfloat16 on a Zen 5 core, products by a packed one take 0.4 to 0.6 of the
    time at 1 row, 0.8 at 64 and 0.95 at 256, with the same bits.

    Attributes:
        transposed: whether a checkpoint holds it as [in, out].
    """

    memory: _Memory
    first: int
    last: int
    transposed: bool = False

    @classmethod
    def allocate(cls, rows: int, columns: int, dtype: torch.dtype) -> OnednnWeight:
        return cls(_Memory(rows, columns, dtype), 0, rows)

    @staticmethod
    def serves(dtype: torch.dtype, device: torch.device) -> bool:
        """Whether weights can be packed; bfloat16 needs instructions that not every CPU has."""
        if _reorder is None or device.type != "cpu":
            return False
        if dtype == torch.bfloat16:
            return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
        return dtype == torch.float32

    @property
    def packed(self) -> torch.Tensor:
        """All of the weight, as operators of `torch.ops.mkldnn` take it."""
        assert self.memory.packed is not None, "a weight is read after it has been copied in"
        return self.memory.packed

    def __len__(self) -> int:
        return self.last - self.first

    @property
    def shape(self) -> tuple[int, int]:
        """As a checkpoint holds it."""
        sizes = len(self), self.memory.columns
        return sizes[::-1] if self.transposed else sizes

    @property
    def nbytes(self) -> int:
        return len(self) * self.memory.columns * self.memory.dtype.itemsize

    def t(self) -> OnednnWeight:
        """The same weight, of a checkpoint that holds it the other way round."""
        return replace(self, transposed=not self.transposed)

    def split(self, sizes: list[int]) -> list[OnednnWeight]:
        """Consecutive ranges of outputs, to be copied into."""
        bounds = pairwise(accumulate(sizes, initial=self.first))
        return [OnednnWeight(self.memory, *pair) for pair in bounds]

    def copy_(self, weight: torch.Tensor) -> None:
        """Takes `weight`, as a checkpoint holds it, in the dtype of this one."""
        self.memory.copy(self.first, weight.t() if self.transposed else weight)
