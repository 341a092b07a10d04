"""What a call of an operator costs from Python, checks and all: each computes a few numbers only.

The times are those of whole calls, with `out=` and allocating, with gradients enabled and without.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from onesearch_fast import SidTrie, ops
from onesearch_fast.ops import AddNormResult, BeamStepResult, QueryKeyValue
from onesearch_fast.testing import random_codes
from onesearch_fast.testing.cases.int8_linear import random_product

TRIE = SidTrie.build(random_codes(20, (4, 4, 4)), (4, 4, 4))
ROW = torch.ones(1, 16)
HEAD = torch.ones(1, 1, 1, 16)
CALLS: dict[str, tuple[dict[str, Any], Any]] = {
    "constrained_beam_step": (
        {
            "logits": torch.zeros(1, 1, 4),
            "node": torch.zeros(1, 1, dtype=torch.int32),
            "beam_scores": torch.zeros(1, 1),
            "trie": TRIE,
            "num_beams": 1,
            "level": 0,
        },
        BeamStepResult.empty(1, 1),
    ),
    "beam_attention": (
        {"query": HEAD, "context_key": HEAD, "context_value": HEAD},
        torch.empty(1, 1, 16),
    ),
    "causal_attention": ({"query": HEAD, "key": HEAD, "value": HEAD}, torch.empty(1, 1, 16)),
    "int8_linear": (random_product(torch.float32, 1, 16, 16), torch.empty(1, 16)),
    "log_sum_exp": ({"x": ROW}, torch.empty(1)),
    "rms_norm": ({"x": ROW, "weight": ROW[0]}, torch.empty(1, 16)),
    "rotary": (
        {"x": HEAD, "rotation": ROW.view(1, 1, 16), "kv_heads": 0},
        QueryKeyValue.like(HEAD, 0),
    ),
    "add_norm": ({"x": ROW, "residual": ROW, "weight": ROW[0]}, AddNormResult.like(ROW)),
    "swiglu": ({"x": ROW}, torch.empty(1, 8)),
}


@pytest.mark.parametrize("gradients", [True, False], ids=["gradients", "inference"])
@pytest.mark.parametrize("memory", ["out", "allocating"])
@pytest.mark.parametrize("name", CALLS)
def test_call(benchmark: Any, name: str, memory: str, gradients: bool) -> None:
    function, (arguments, out) = getattr(ops, name), CALLS[name]
    if memory == "out":
        arguments = arguments | {"out": out}
    with torch.inference_mode(not gradients):
        assert (function(**arguments) is out) == (memory == "out")
        benchmark.pedantic(function, kwargs=arguments, rounds=50, iterations=2000, warmup_rounds=2)
