"""Products of bfloat16 with packed weights, against oneDNN's with weights that it has reordered.

The shapes are those of a 29M-parameter Qwen3's layers and of its output matrix, from one beam on.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from onesearch_fast.models.activations import SILU
from onesearch_fast.models.linear import linear
from onesearch_fast.models.onednn_weight import OnednnWeight
from onesearch_fast.ops import bf16_linear, pack_bf16_weight
from onesearch_fast.registry import Tolerance
from onesearch_fast.testing import assert_close

SHAPES = {  # in, out
    "29m-qkv": (512, 1024),
    "29m-gate": (512, 1536),
    "29m-down": (1536, 512),
    "29m-head": (512, 8704),
}
ROWS = (1, 16, 64, 256, 1024)
# Either rounds its sums of size 1 once.
TOLERANCE = Tolerance(0.01, 0.002)


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("shape", SHAPES)
def test_bf16_linear(race: Callable[..., None], tiny: bool, shape: str, rows: int) -> None:
    inputs, outputs = SHAPES[shape]
    if tiny:
        inputs, outputs = 32, 64
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(rows, inputs, generator=generator).bfloat16()
    weight = (torch.randn(outputs, inputs, generator=generator) / inputs**0.5).bfloat16()
    packed = pack_bf16_weight(weight)
    reordered = OnednnWeight.allocate(outputs, inputs, torch.bfloat16)
    reordered.copy_(weight)
    name, activation = ("silu", SILU) if shape == "29m-gate" else ("none", None)
    rivals = {
        "cpu": lambda: bf16_linear(x, packed, None, name, backend="cpu"),
        "oneDNN": lambda: linear(x, reordered, None, activation),
    }

    def assert_near(ours: torch.Tensor, theirs: torch.Tensor) -> None:
        assert_close(theirs, ours, TOLERANCE)

    race(rivals, assert_near)
