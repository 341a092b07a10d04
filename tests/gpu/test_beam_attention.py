"""Contexts that are cut into chunks, on a GPU."""

from __future__ import annotations

import pytest
import torch

from onesearch_fast.ops import beam_attention
from onesearch_fast.testing.cases.beam_attention import random_attention
from onesearch_fast.testing.devices import on_device


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_neighbours_change_no_bit_of_a_cut_context(dtype: torch.dtype) -> None:
    lengths = (200, 256, 900)
    arguments = on_device(random_attention(dtype, batch=3, prompt=900), "cuda")
    arguments["context_length"] = torch.tensor(lengths, dtype=torch.int32, device="cuda")
    together = beam_attention(**arguments, backend="triton")
    for row, prompt in enumerate(lengths):  # the first two are whole when they are alone
        alone = {name: value[row : row + 1] for name, value in arguments.items()}
        for name in ("context_key", "context_value"):
            alone[name] = alone[name][:, :, :prompt]
        assert torch.equal(beam_attention(**alone, backend="triton")[0], together[row])
