"""The gated activation of feed-forward layers: contract, checks, choice of an implementation."""

from __future__ import annotations

import torch

from onesearch_fast.ops import _library
from onesearch_fast.ops._arguments import choose
from onesearch_fast.registry import Operator, Tolerance

OPERATOR = Operator(
    name="swiglu",
    axes={"x": ("row", "2 * hidden"), "out": ("row", "hidden")},
    dtypes=(torch.float32, torch.bfloat16, torch.float16),
    # Half-width results are float32 ones, rounded once: one unit in the last place either way.
    tolerance={
        torch.float32: Tolerance(1e-5, 1e-6),
        torch.bfloat16: Tolerance(8e-3, 1e-6),
        torch.float16: Tolerance(1e-3, 1e-6),
    },
    exact=(),
)


def swiglu(
    x: torch.Tensor, *, out: torch.Tensor | None = None, backend: str | None = None
) -> torch.Tensor:
    """Scales the second half of every row by the SiLU of the first.

        out[i, j] = silu(x[i, j]) * x[i, hidden + j], silu(g) = g / (1 + exp(-g))
                                                                    in float32, rounded once

    Args:
        x: [row, 2 * hidden] float32, bfloat16 or float16, gates and then ups, as a joint product
            makes them; rows are contiguous, at any stride. A gate of -inf has no value.
        out: memory to fill and return instead of allocating; may be the first half of `x`.
        backend: "cpu", "triton" or "torch"; None for the best available.

    Returns:
        `out`, or a new tensor: [row, hidden] in the dtype of `x`.

    Raises:
        TypeError: an argument of the wrong type or dtype.
        ValueError: a wrong shape, stride or device, or, with gradients enabled, a tensor that
            requires grad.
        BackendUnavailable: the named backend cannot run here; the message says why.

    Cost: x is read from memory once. The same bits for a row, whatever its neighbours and the
    number of threads, on one backend. Not differentiable.
    Source: Shazeer 2020 (arXiv 2002.05202).
    """
    if out is None and torch.compiler.is_compiling():
        traced: torch.Tensor = torch.ops.onesearch.swiglu(x, backend)
        return traced
    compute = choose(OPERATOR, "x", x, backend)
    if out is None:
        out = x.new_empty(x.shape[0], x.shape[1] // 2)
    compute(x, out)
    return out


_library.define(
    "swiglu(Tensor x, str? backend) -> Tensor",
    lambda x, backend: swiglu(x, backend=backend),
    lambda x, backend: x.new_empty(x.shape[0], x.shape[1] // 2),
)
