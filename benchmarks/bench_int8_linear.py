"""Products of layers in 8 bits, against those in bfloat16 by oneDNN, with the activation inside.

The shapes are those of BART-base's and of a 29M-parameter Qwen3's layers, at one beam and at many.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from onesearch_fast.models.activations import GELU
from onesearch_fast.models.linear import linear
from onesearch_fast.ops import int8_linear, pack_int8_weight
from onesearch_fast.registry import Tolerance
from onesearch_fast.testing import assert_close

SHAPES = {  # rows, in, out
    "bart-up": (512, 768, 3072),
    "bart-down": (512, 3072, 768),
    "bart-qkv": (512, 768, 2304),
    "29m-up": (256, 512, 1536),
    "29m-one-beam": (1, 512, 1536),
}
# Of results of size 1: what 8 bits lose, and no more.
TOLERANCE = Tolerance(0.05, 0.05)


@pytest.mark.parametrize("shape", SHAPES)
def test_int8_linear(race: Callable[..., None], shape: str) -> None:
    rows, inputs, outputs = SHAPES[shape]
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(rows, inputs, generator=generator).bfloat16()
    weight = torch.randn(outputs, inputs, generator=generator) / inputs**0.5
    bias = torch.randn(outputs, generator=generator).bfloat16()
    packed, scale = pack_int8_weight(weight)
    half = weight.bfloat16()
    rivals = {
        "cpu, 8 bits": lambda: int8_linear(x, packed, scale, bias, "gelu", backend="cpu"),
        "oneDNN, bfloat16": lambda: linear(x, half, bias, GELU),
    }

    def assert_near(ours: torch.Tensor, theirs: torch.Tensor) -> None:
        assert_close(theirs, ours, TOLERANCE)

    race(rivals, assert_near)
