"""Long contexts of few rows, which are cut into chunks, in Triton's interpreter."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from onesearch_fast.ops import beam_attention
from onesearch_fast.testing.cases.beam_attention import random_attention

triton = pytest.importorskip("triton", reason="triton is missing: `make triton` installs it")
pytestmark = pytest.mark.skipif(
    not triton.knobs.runtime.interpret, reason="needs TRITON_INTERPRET=1: `make triton`"
)


def request(arguments: dict[str, Any], row: int, prompt: int) -> dict[str, Any]:
    """One request of a batch, with no more padding than to `prompt`."""
    alone = {name: value[row : row + 1] for name, value in arguments.items()}
    for name in ("context_key", "context_value"):
        alone[name] = alone[name][:, :, :prompt]
    return alone


def test_neighbours_change_no_bit_of_a_cut_context() -> None:
    arguments = random_attention(torch.bfloat16, batch=2, kv_heads=1, prompt=300)
    arguments["context_length"] = torch.tensor([256, 300], dtype=torch.int32)
    together = beam_attention(**arguments, backend="triton")
    for row, prompt in enumerate((256, 300)):  # the first one's is whole when it is alone
        alone = beam_attention(**request(arguments, row, prompt), backend="triton")
        assert torch.equal(alone[0], together[row])
