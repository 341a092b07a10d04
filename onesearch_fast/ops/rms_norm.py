"""Root-mean-square norm of rows: contract, checks, choice of an implementation."""

from __future__ import annotations

import torch

from onesearch_fast.ops import _library
from onesearch_fast.ops._arguments import choose
from onesearch_fast.registry import Operator, Tolerance

OPERATOR = Operator(
    name="rms_norm",
    axes={"x": ("row", "hidden"), "weight": ("hidden",), "out": ("row", "hidden")},
    dtypes=(torch.float32, torch.bfloat16, torch.float16),
    # Half-width results are float32 ones, rounded once: one unit in the last place either way.
    tolerance={
        torch.float32: Tolerance(1e-5, 1e-6),
        torch.bfloat16: Tolerance(8e-3, 1e-6),
        torch.float16: Tolerance(1e-3, 1e-6),
    },
    exact=(),
)


def rms_norm(
    x: torch.Tensor,
    weight: torch.Tensor,
    eps: float = 1e-6,
    *,
    out: torch.Tensor | None = None,
    backend: str | None = None,
) -> torch.Tensor:
    """Scales every row to a root mean square of 1, then by `weight`.

        out[i] = x[i] / sqrt(mean(x[i]^2) + eps) * weight           in float32, rounded once

    Args:
        x: [row, hidden] float32, bfloat16 or float16; rows are contiguous, at any stride. Squares
            must sum below 3e38.
        weight: [hidden] in the dtype of `x`, contiguous.
        eps: finite and at least 0.
        out: memory to fill and return instead of allocating; may be `x`.
        backend: "cpu", "triton" or "torch"; None for the best available.

    Returns:
        `out`, or a new tensor: [row, hidden] in the dtype of `x`.

    Raises:
        TypeError: an argument of the wrong type or dtype.
        ValueError: a wrong shape, stride, device or range, or, with gradients enabled, a tensor
            that requires grad.
        BackendUnavailable: the named backend cannot run here; the message says why.

    Cost: x is read from memory once. The same bits for a row, whatever its neighbours and the
    number of threads, on one backend. Not differentiable.
    Source: Zhang and Sennrich 2019 (arXiv 1910.07467).
    """
    if out is None and torch.compiler.is_compiling():
        traced: torch.Tensor = torch.ops.onesearch.rms_norm(x, weight, eps, backend)
        return traced
    compute = choose(OPERATOR, "x", x, backend)
    if out is None:
        out = torch.empty_like(x, memory_format=torch.contiguous_format)
    compute(x, weight, eps, out)
    return out


_library.define(
    "rms_norm(Tensor x, Tensor weight, float eps, str? backend) -> Tensor",
    lambda x, weight, eps, backend: rms_norm(x, weight, eps, backend=backend),
    lambda x, weight, eps, backend: x.new_empty(x.shape),
)
