"""Attention of one layer and step of a search: all beams of a request over its prompt and own past.

Rivals of the native operator, each with the keys and values where the engine would have them:
"expanded" is scaled_dot_product_attention over keys and values copied to every beam, as
`transformers` runs it; "folded" folds beams and query group into the query length of one
scaled_dot_product_attention over the shared context, attends the gathered own tokens apart and
merges both by their log-sum-exps, the strongest form in plain torch; "products" is two batched
products with a softmax over context and own tokens together. Outputs are compared before anything
is timed. `extra_info` has the flops of a call, which bound it: 4 per query, key and element.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from onesearch_fast.models.linear import batched_product
from onesearch_fast.ops import beam_attention
from onesearch_fast.registry import Tolerance
from onesearch_fast.testing import assert_close
from onesearch_fast.testing.cases.beam_attention import random_attention

# batch, beams, kv_heads, group, head_dim, prompt, steps
SHAPES = {
    "qwen3-29m-w64": (1, 64, 4, 2, 64, 256, 3),
    "qwen3-29m-w256": (1, 256, 4, 2, 64, 256, 3),
    "qwen3-29m-8xw64": (8, 64, 4, 2, 64, 256, 3),
    "bart-base-w512": (1, 512, 12, 1, 64, 128, 3),
    "qwen2-0.5b-w256": (1, 256, 2, 7, 64, 1024, 3),
    "qwen3-0.6b-w256": (1, 256, 8, 2, 128, 1024, 3),
    "narrow": (1, 4, 4, 2, 64, 256, 3),
}
TOLERANCES = {
    torch.float32: Tolerance(1e-4, 1e-5),
    # torch rounds scores or weights to bfloat16 in places where ours are float32.
    torch.bfloat16: Tolerance(0.05, 0.02),
}


@dataclass(frozen=True)
class Step:
    """One layer's attention, with own tokens both in place and gathered for each beam."""

    arguments: dict[str, Any]
    query: torch.Tensor  # [batch, kv_head, group * beam, head_dim]
    context: tuple[torch.Tensor, torch.Tensor]  # [batch, kv_head, prompt, head_dim]
    own: tuple[torch.Tensor, torch.Tensor]  # [batch, kv_head, beam, step, head_dim]
    expanded: tuple[torch.Tensor, torch.Tensor]  # [batch * beam, kv_head, prompt + step, head_dim]

    @classmethod
    def make(cls, dtype: torch.dtype, shape: tuple[int, ...]) -> Step:
        arguments = random_attention(dtype, *shape) | {"context_length": None}
        query, context = arguments["query"], (arguments["context_key"], arguments["context_value"])
        kv_heads, beams = context[0].shape[1], query.shape[1]
        folded = query.unflatten(2, (kv_heads, -1)).permute(0, 2, 3, 1, 4).flatten(2, 3)
        own = tuple(
            _gathered(arguments[name], arguments["ancestry"]) for name in ("own_key", "own_value")
        )
        expanded = tuple(
            torch.cat((shared.unsqueeze(1).expand(-1, beams, -1, -1, -1), made.transpose(1, 2)), 3)
            .flatten(0, 1)
            .contiguous()
            for shared, made in zip(context, own, strict=True)
        )
        return cls(arguments, folded.contiguous(), context, own, expanded)

    @property
    def flops(self) -> int:
        batch, beams, heads, head_dim = self.arguments["query"].shape
        return 4 * batch * beams * heads * head_dim * self.expanded[0].shape[2]

    def native(self) -> Callable[[], torch.Tensor]:
        query = self.arguments["query"]
        out = query.new_empty(*query.shape[:2], query.shape[2] * query.shape[3])
        return lambda: beam_attention(**self.arguments, out=out, backend="cpu")

    def by_expansion(self) -> torch.Tensor:
        query = self.arguments["query"]
        mixed = F.scaled_dot_product_attention(
            query.flatten(0, 1).unsqueeze(2), *self.expanded, enable_gqa=True
        )
        return mixed.reshape(*query.shape[:2], -1)

    def by_folding(self) -> torch.Tensor:
        mixed, log_sum = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            self.query, *self.context
        )
        own_key, own_value = self.own
        grouped = self._grouped(self.query)
        scores = (grouped.unsqueeze(4) * own_key.unsqueeze(2)).sum(-1).float()
        scores = scores * self.query.shape[-1] ** -0.5
        context_log_sum = self._grouped(log_sum.unsqueeze(-1))
        log_total = torch.logaddexp(context_log_sum, scores.logsumexp(-1, keepdim=True))
        weights = (scores - log_total).exp().to(own_value.dtype)
        own = (weights.unsqueeze(-1) * own_value.unsqueeze(2)).sum(-2)
        kept = (context_log_sum - log_total).exp().to(mixed.dtype)
        return self._joined(self._grouped(mixed) * kept + own)

    def by_products(self) -> torch.Tensor:
        own_key, own_value = self.own
        query = self.query * self.query.shape[-1] ** -0.5
        rows, prompt = query.flatten(0, 1), self.context[0].shape[2]
        scores = rows.new_empty(*rows.shape[:2], prompt + own_key.shape[3])
        batched_product(rows, self.context[0].flatten(0, 1).mT, scores[..., :prompt])
        own_scores = (self._grouped(query).unsqueeze(4) * own_key.unsqueeze(2)).sum(-1)
        scores[..., prompt:] = own_scores.view(*rows.shape[:2], -1)
        weights = scores.softmax(-1)
        mixed = torch.empty_like(rows)
        batched_product(weights[..., :prompt], self.context[1].flatten(0, 1), mixed)
        own_weights = weights[..., prompt:].reshape(*own_scores.shape, 1)
        own = (own_weights * own_value.unsqueeze(2)).sum(-2)
        return self._joined(self._grouped(mixed.view_as(self.query)) + own)

    def _grouped(self, rows: torch.Tensor) -> torch.Tensor:
        """[batch, kv_head, group * beam, n] -> [batch, kv_head, group, beam, n]."""
        return rows.unflatten(2, (-1, self.own[0].shape[2]))

    def _joined(self, grouped: torch.Tensor) -> torch.Tensor:
        return grouped.permute(0, 3, 1, 2, 4).flatten(2)


def _gathered(own: torch.Tensor, ancestry: torch.Tensor) -> torch.Tensor:
    index = ancestry.long().transpose(1, 2)[..., None, None].expand(-1, -1, -1, *own.shape[3:])
    return own.gather(2, index).permute(0, 3, 2, 1, 4).contiguous()


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("shape", SHAPES)
def test_beam_attention(
    race: Callable[..., None], benchmark: Any, shape: str, dtype: torch.dtype
) -> None:
    step = Step.make(dtype, SHAPES[shape])
    rivals = {
        "cpu": step.native(),
        "torch, folded": step.by_folding,
        "torch, products": step.by_products,
        "torch, expanded": step.by_expansion,
    }

    def assert_near(ours: torch.Tensor, theirs: torch.Tensor) -> None:
        assert_close(theirs, ours, TOLERANCES[dtype])

    benchmark.extra_info["flops"] = step.flops
    with torch.inference_mode():
        race(rivals, assert_near)
