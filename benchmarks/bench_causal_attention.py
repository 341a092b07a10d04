"""Attention of one layer while a prompt is read, against torch's scaled_dot_product_attention.

Each with queries as a slice of the joint product of queries, keys and values, and with keys and
values where the engine keeps them. "cached" shapes read the last tokens after a beginning that a
prefix cache knows, for which torch needs a mask. Outputs are compared before anything is timed.
`extra_info` has the flops of a call, which bound it: 4 per query, key that it sees, and element; a
core of an AMD EPYC with AVX-512 multiplies 537 GFLOP/s in bfloat16, 267 in float32.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from onesearch_fast.ops import causal_attention
from onesearch_fast.registry import Tolerance
from onesearch_fast.testing import assert_close
from onesearch_fast.testing.cases.causal_attention import random_causal

# batch, tokens, prompt, kv_heads, group, head_dim
SHAPES = {
    "qwen3-29m-64": (1, 64, 64, 4, 2, 64),
    "qwen3-29m-256": (1, 256, 256, 4, 2, 64),
    "qwen3-29m-2048": (1, 2048, 2048, 4, 2, 64),
    "qwen3-29m-8x256": (8, 256, 256, 4, 2, 64),
    "qwen3-29m-cached": (1, 64, 1024, 4, 2, 64),
    "gpt2-256": (1, 256, 256, 12, 1, 64),
    "qwen3-0.6b-1024": (1, 1024, 1024, 8, 2, 128),
}
TOLERANCES = {
    torch.float32: Tolerance(1e-4, 1e-5),
    # torch rounds scores or weights to bfloat16 in places where ours are float32.
    torch.bfloat16: Tolerance(0.05, 0.02),
}


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("shape", SHAPES)
def test_causal_attention(
    race: Callable[..., None], benchmark: Any, shape: str, dtype: torch.dtype
) -> None:
    batch, tokens, prompt, kv_heads, group, head_dim = SHAPES[shape]
    query, key, value = random_causal(dtype, *SHAPES[shape]).values()
    query = torch.cat((query, query), dim=2)[:, :, : kv_heads * group]
    out = query.new_empty(batch, tokens, kv_heads * group * head_dim)
    mask = None
    if tokens < prompt:
        mask = torch.ones(tokens, prompt, dtype=torch.bool).tril(prompt - tokens)

    def by_torch() -> torch.Tensor:
        mixed = F.scaled_dot_product_attention(
            query.transpose(1, 2), key, value, mask, is_causal=mask is None, enable_gqa=True
        )
        return mixed.transpose(1, 2).flatten(2)

    def assert_near(ours: torch.Tensor, theirs: torch.Tensor) -> None:
        assert_close(theirs, ours, TOLERANCES[dtype])

    seen = tokens * (2 * prompt - tokens + 1) // 2
    benchmark.extra_info["flops"] = 4 * batch * kv_heads * group * head_dim * seen
    rivals = {
        "cpu": lambda: causal_attention(query, key, value, out=out, backend="cpu"),
        "torch": by_torch,
    }
    with torch.inference_mode():
        race(rivals, assert_near)
