"""Log-sum-exp of rows: contract, checks, choice of an implementation."""

from __future__ import annotations

import torch

from onesearch_fast.ops import _library
from onesearch_fast.ops._arguments import choose
from onesearch_fast.registry import Operator, Tolerance

OPERATOR = Operator(
    name="log_sum_exp",
    axes={"x": ("row", "column"), "out": ("row",)},
    dtypes=(torch.float32, torch.bfloat16, torch.float16),
    # Inputs are exact whatever their width, and results float32.
    tolerance={
        torch.float32: Tolerance(1e-6, 1e-5),
        torch.bfloat16: Tolerance(1e-6, 1e-5),
        torch.float16: Tolerance(1e-6, 1e-5),
    },
    exact=(),
)


def log_sum_exp(
    x: torch.Tensor, *, out: torch.Tensor | None = None, backend: str | None = None
) -> torch.Tensor:
    """The logarithm of the sum of exponentials of every row.

        out[i] = log(sum over j of exp(x[i, j]))                    in float32

    A row with NaN gives NaN, one with +inf (and no NaN) +inf, one that is empty or all -inf -inf.

    Args:
        x: [row, column] float32, bfloat16 or float16; rows are contiguous, at any stride.
        out: memory to fill and return instead of allocating.
        backend: "cpu", "triton" or "torch"; None for the best available.

    Returns:
        `out`, or a new tensor: [row] float32, nats.

    Raises:
        TypeError: an argument of the wrong type or dtype.
        ValueError: a wrong shape, stride or device, or, with gradients enabled, a tensor that
            requires grad.
        BackendUnavailable: the named backend cannot run here; the message says why.

    Cost: two passes over a row; x is read from memory once where a row fits the cache. The same
    bits for a row, whatever its neighbours and the number of threads, on one backend. Not
    differentiable.
    """
    if out is None and torch.compiler.is_compiling():
        traced: torch.Tensor = torch.ops.onesearch.log_sum_exp(x, backend)
        return traced
    compute = choose(OPERATOR, "x", x, backend)
    if out is None:
        out = x.new_empty(x.shape[0], dtype=torch.float32)
    compute(x, out)
    return out


_library.define(
    "log_sum_exp(Tensor x, str? backend) -> Tensor",
    lambda x, backend: log_sum_exp(x, backend=backend),
    lambda x, backend: x.new_empty(x.shape[0], dtype=torch.float32),
)
