"""A matrix product with packed bfloat16 weights: contract, checks, choice of an implementation."""

from __future__ import annotations

import torch

from onesearch_fast.errors import invalid
from onesearch_fast.ops._arguments import check_tensor, choose
from onesearch_fast.ops._products import activation_number
from onesearch_fast.registry import Operator, Tolerance

_OTHER = ("row", "out")
OPERATOR = Operator(
    name="bf16_linear",
    axes={
        "x": ("row", "in"),
        "weight": ("out / 64", "in / 2", "64", "2"),
        "bias": ("out",),
        "added": _OTHER,
        "factor": _OTHER,
        "out": _OTHER,
    },
    dtypes=(torch.bfloat16,),
    # Sums are float32, in another order; results are rounded once.
    tolerance={torch.bfloat16: Tolerance(8e-3, 1e-5)},
    exact=(),
)

# Outputs and inputs of a weight come in blocks of so many.
BLOCK_OUT, BLOCK_IN = 64, 2


def pack_bf16_weight(weight: torch.Tensor) -> torch.Tensor:
    """Brings a weight into the order in which `bf16_linear` reads it.

        packed[o / 64, i / 2, o % 64, i % 2] = weight[o, i]

    Args:
        weight: [out, in] of any float dtype; out a multiple of 64, in of 2.

    Returns:
        packed [out / 64, in / 2, 64, 2] bfloat16.

    Raises:
        ValueError: other sizes.
    """
    rows, columns = weight.shape
    if rows % BLOCK_OUT or columns % BLOCK_IN:
        expected = f"[out, in] of a multiple of {BLOCK_OUT} and of {BLOCK_IN}"
        raise invalid("pack_bf16_weight", "weight", expected, tuple(weight.shape), "keep it as is")
    sizes = (rows // BLOCK_OUT, BLOCK_OUT, columns // BLOCK_IN, BLOCK_IN)
    return weight.detach().bfloat16().reshape(sizes).transpose(1, 2).contiguous()


def bf16_linear(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    activation: str = "none",
    *,
    added: torch.Tensor | None = None,
    factor: torch.Tensor | None = None,
    out: torch.Tensor | None = None,
    backend: str | None = None,
) -> torch.Tensor:
    """Multiplies rows of bfloat16 by a packed weight.

        y[i, o] = sum_j x[i, j] weight[o / 64, j / 2, o % 64, j % 2] + bias[o]
        out[i, o] = activation(y[i, o]) (+ added[i, o], or * factor[i, o])

    Args:
        x: [row, in] bfloat16; rows are contiguous, at any stride.
        weight: [out / 64, in / 2, 64, 2] bfloat16, contiguous, by `pack_bf16_weight`.
        bias: [out] bfloat16, contiguous, or None.
        activation: "none", "relu", "silu", "gelu" (by erf), "gelu_tanh", or "quick_gelu".
        added, factor: [row, out] bfloat16, rows contiguous; one of them at most.
        out: memory to fill and return instead of allocating; may be `added` or `factor`.
        backend: "cpu" or "torch"; None for the best available.

    Returns:
        `out`, or a new tensor: [row, out] bfloat16, rounded once, from float32.

    Raises:
        TypeError: an argument of the wrong type or dtype.
        ValueError: a wrong shape, stride, device or activation, or, with gradients enabled, a
            tensor that requires grad.
        BackendUnavailable: the named backend cannot run here; the message says why.

    Cost: row * in * out multiply-adds, with AVX512_BF16 two of a sum in one instruction
    (dpbf16ps). That one rounds both products of a pair in its own way and takes subnormal numbers
    for zero, so its sums differ from those of other processors in their last bits. On one processor
    a row has the same bits whatever its neighbours and the number of threads. Not differentiable.
    Source: Intel, Architecture Instruction Set Extensions Programming Reference, VDPBF16PS.
    """
    compute = choose(OPERATOR, "x", x, backend)
    number = activation_number(OPERATOR, activation)
    check_tensor(OPERATOR, "weight", weight)
    if out is None:
        out = x.new_empty(x.shape[0], weight.shape[0] * BLOCK_OUT)
    compute(x, weight, bias, number, added, factor, out)
    return out
