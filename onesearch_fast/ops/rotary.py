"""Rotary positions, the norm of heads before them and the writing of keys and values after."""

from __future__ import annotations

from typing import NamedTuple

import torch

from onesearch_fast.errors import invalid
from onesearch_fast.ops import _library
from onesearch_fast.ops._arguments import choose, no_result
from onesearch_fast.registry import Operator, Tolerance

OPERATOR = Operator(
    name="rotary",
    axes={
        "x": ("batch", "token", "head + 2 * kv_head", "head_dim"),
        "rotation": ("batch", "token", "head_dim"),
        "norm_weight": ("head + kv_head", "head_dim"),
        "out.query": ("batch", "token", "head", "head_dim"),
        "out.key": ("batch", "token", "kv_head", "head_dim"),
        "out.value": ("batch", "token", "kv_head", "head_dim"),
    },
    dtypes=(torch.float32, torch.bfloat16, torch.float16),
    # Half-width results are float32 ones, rounded once: one unit in the last place either way.
    tolerance={
        torch.float32: Tolerance(1e-5, 1e-5),
        torch.bfloat16: Tolerance(8e-3, 1e-5),
        torch.float16: Tolerance(1e-3, 1e-5),
    },
    exact=(),
)


class QueryKeyValue(NamedTuple):
    """query [batch, token, head, head_dim]; key and value [batch, token, kv_head, head_dim]."""

    query: torch.Tensor
    key: torch.Tensor
    value: torch.Tensor

    @classmethod
    def like(cls, x: torch.Tensor, kv_heads: int) -> QueryKeyValue:
        """Memory without values for the heads of a joint product."""
        batch, tokens, heads, head_dim = x.shape
        numbers = (heads - 2 * kv_heads, kv_heads, kv_heads)
        return cls(*(x.new_empty(batch, tokens, number, head_dim) for number in numbers))


def rotary(
    x: torch.Tensor,
    rotation: torch.Tensor,
    norm_weight: torch.Tensor | None = None,
    eps: float = 1e-6,
    kv_heads: int = 0,
    *,
    out: QueryKeyValue | None = None,
    backend: str | None = None,
) -> QueryKeyValue:
    """Turns pairs of every head by the angles of its token, after its norm where there is one.

    With h = x, or `rms_norm` of x over head_dim by norm_weight[head], half = head_dim / 2, and
    (cos, sin) the two halves of the token's rotation, for heads of queries and of keys:

        out[..., :half] = h[..., :half] cos - h[..., half:] sin
        out[..., half:] = h[..., half:] cos + h[..., :half] sin     in float32, rounded once

    Heads of values are copied. Each goes to memory of its own, so that keys and values are written
    once, where they are kept.

    Args:
        x: [batch, token, head + 2 * kv_head, head_dim] float32, bfloat16 or float16: the heads of
            queries, of keys, of values, as a joint product makes them; head_dim even and
            contiguous, the other axes at any strides.
        rotation: [batch, token, head_dim] float32, cosines and then sines; the last axis
            contiguous, others may be expanded.
        norm_weight: [head + kv_head, head_dim] in the dtype of `x`; None for no norm.
        eps: finite and at least 0.
        kv_heads: how many heads are keys, and how many values.
        out: memory to fill and return instead of allocating; its axes but the last at any strides.
            Each may be its own part of `x`.
        backend: "cpu", "triton" or "torch"; None for the best available.

    Returns:
        `out`, or new tensors in the dtype of `x`.

    Raises:
        TypeError: an argument of the wrong type or dtype.
        ValueError: a wrong shape, stride, device or range, or, with gradients enabled, a tensor
            that requires grad.
        BackendUnavailable: the named backend cannot run here; the message says why.

    Cost: x is read from memory once. The same bits for a head, whatever its neighbours and the
    number of threads, on one backend. Not differentiable.
    Source: Su et al. 2021 (arXiv 2104.09864); norm of heads after Dehghani et al. 2023 (arXiv
    2302.05442).
    """
    if out is None and torch.compiler.is_compiling():
        arguments = (x, rotation, norm_weight, eps, kv_heads, backend)
        return QueryKeyValue(*torch.ops.onesearch.rotary(*arguments))
    compute = choose(OPERATOR, "x", x, backend)
    if not (isinstance(kv_heads, int) and 0 <= 2 * kv_heads <= x.shape[2]):
        expected = f"an integer from 0 to {x.shape[2] // 2}, half of the heads of x"
        raise invalid(OPERATOR.name, "kv_heads", expected, kv_heads)
    if out is None:
        out = QueryKeyValue.like(x, kv_heads)
    elif not isinstance(out, QueryKeyValue):
        raise no_result(OPERATOR, out, QueryKeyValue)
    compute(x, rotation, norm_weight, eps, out.query, out.key, out.value)
    return out


_library.define(
    "rotary(Tensor x, Tensor rotation, Tensor? norm_weight, float eps, int kv_heads, str? backend)"
    " -> (Tensor, Tensor, Tensor)",
    lambda *arguments: tuple(rotary(*arguments[:5], backend=arguments[5])),
    lambda x, rotation, norm_weight, eps, kv_heads, backend: tuple(QueryKeyValue.like(x, kv_heads)),
)
