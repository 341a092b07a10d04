"""A residual sum and its norm in one pass: contract, checks, choice of an implementation."""

from __future__ import annotations

from typing import NamedTuple

import torch

from onesearch_fast.ops import _library
from onesearch_fast.ops._arguments import choose, no_result
from onesearch_fast.registry import Operator, Tolerance

OPERATOR = Operator(
    name="add_norm",
    axes={
        "x": ("row", "hidden"),
        "residual": ("row", "hidden"),
        "weight": ("hidden",),
        "bias": ("hidden",),
        "out.sum": ("row", "hidden"),
        "out.normed": ("row", "hidden"),
    },
    dtypes=(torch.float32, torch.bfloat16, torch.float16),
    # A half-width sum may be one unit in the last place off, its norm by that and one more; a mean
    # that is taken off leaves the error of larger numbers in smaller ones.
    tolerance={
        torch.float32: Tolerance(1e-5, 1e-5),
        torch.bfloat16: Tolerance(1.6e-2, 2e-2),
        torch.float16: Tolerance(2e-3, 2.5e-3),
    },
    exact=(),
)


class AddNormResult(NamedTuple):
    """sum and normed: [row, hidden] in the dtype of `x`."""

    sum: torch.Tensor
    normed: torch.Tensor

    @classmethod
    def like(cls, x: torch.Tensor) -> AddNormResult:
        """Memory without values for [row, hidden]."""
        return cls(x.new_empty(x.shape), x.new_empty(x.shape))


def add_norm(
    x: torch.Tensor,
    residual: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    eps: float = 1e-6,
    *,
    out: AddNormResult | None = None,
    backend: str | None = None,
) -> AddNormResult:
    """Adds a layer's result to what it was made of, and norms the sum for the next layer.

        sum = x + residual                              in float32, rounded to the dtype
        normed[i] = sum[i] / sqrt(mean(sum[i]^2) + eps) * weight            without `bias`
        normed[i] = (sum[i] - m) / sqrt(mean((sum[i] - m)^2) + eps) * weight + bias,
                    m = mean(sum[i]), with it           in float32, rounded once

    Args:
        x: [row, hidden] float32, bfloat16 or float16; rows are contiguous, at any stride. Squares
            of the sum must add up to less than 3e38.
        residual: as `x`.
        weight: [hidden] in the dtype of `x`, contiguous.
        bias: as `weight`, for a layer norm; None for a root-mean-square norm.
        eps: finite and at least 0.
        out: memory to fill and return instead of allocating; `out.sum` may be `x` or `residual`.
        backend: "cpu", "triton" or "torch"; None for the best available.

    Returns:
        `out`, or new tensors.

    Raises:
        TypeError: an argument of the wrong type or dtype.
        ValueError: a wrong shape, stride, device or range, or, with gradients enabled, a tensor
            that requires grad.
        BackendUnavailable: the named backend cannot run here; the message says why.

    Cost: x and residual are read from memory once. The same bits for a row, whatever its neighbours
    and the number of threads, on one backend. Not differentiable.
    Source: Ba et al. 2016 (arXiv 1607.06450); Zhang and Sennrich 2019 (arXiv 1910.07467).
    """
    if out is None and torch.compiler.is_compiling():
        traced = torch.ops.onesearch.add_norm(x, residual, weight, bias, eps, backend)
        return AddNormResult(*traced)
    compute = choose(OPERATOR, "x", x, backend)
    if out is None:
        out = AddNormResult.like(x)
    elif not isinstance(out, AddNormResult):
        raise no_result(OPERATOR, out, AddNormResult)
    compute(x, residual, weight, bias, eps, out.sum, out.normed)
    return out


_library.define(
    "add_norm(Tensor x, Tensor residual, Tensor weight, Tensor? bias, float eps, str? backend)"
    " -> (Tensor, Tensor)",
    lambda *arguments: tuple(add_norm(*arguments[:5], backend=arguments[5])),
    lambda x, *_: tuple(AddNormResult.like(x)),
)
