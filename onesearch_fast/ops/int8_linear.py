"""A matrix product with weights of 8 bits: contract, checks, choice of an implementation."""

from __future__ import annotations

import torch

from onesearch_fast.errors import invalid
from onesearch_fast.ops._arguments import check_tensor, choose
from onesearch_fast.registry import Operator, Tolerance

_OTHER = ("row", "out")
OPERATOR = Operator(
    name="int8_linear",
    axes={
        "x": ("row", "in"),
        "weight": ("out / 16", "in / 4", "16", "4"),
        "weight_scale": ("out",),
        "bias": ("out",),
        "added": _OTHER,
        "factor": _OTHER,
        "out": _OTHER,
    },
    dtypes=(torch.float32, torch.bfloat16, torch.float16),
    # Sums are exact; results are float32 ones, rounded once.
    tolerance={
        torch.float32: Tolerance(1e-5, 1e-5),
        torch.bfloat16: Tolerance(8e-3, 1e-5),
        torch.float16: Tolerance(1e-3, 1e-5),
    },
    exact=(),
)

# By the numbers that the native core knows them by.
ACTIVATIONS = ("none", "relu", "silu", "gelu", "gelu_tanh", "quick_gelu")
# Outputs and inputs of a weight come in blocks of so many.
BLOCK_OUT, BLOCK_IN = 16, 4


def pack_int8_weight(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Rounds every row of a weight to 8 bits, in the layout that `int8_linear` reads.

        weight_scale[o] = max_i |weight[o, i]| / 127
        packed[o / 16, i / 4, o % 16, i % 4] = round(weight[o, i] / weight_scale[o]) + 128

    Args:
        weight: [out, in] of any float dtype; out a multiple of 16, in a multiple of 4.

    Returns:
        packed [out / 16, in / 4, 16, 4] uint8, and weight_scale [out] float32.

    Raises:
        ValueError: other sizes.
    """
    rows, columns = weight.shape
    if rows % BLOCK_OUT or columns % BLOCK_IN:
        expected = f"[out, in] of a multiple of {BLOCK_OUT} and of {BLOCK_IN}"
        raise invalid("pack_int8_weight", "weight", expected, tuple(weight.shape), "keep it as is")
    values = weight.detach().float()
    scale = values.abs().amax(1) / 127
    whole = (values / scale.clamp(min=1e-38)[:, None]).round().clamp(-127, 127)
    blocks = (whole + 128).to(torch.uint8).view(-1, BLOCK_OUT, columns // BLOCK_IN, BLOCK_IN)
    return blocks.transpose(1, 2).contiguous(), scale


def int8_linear(
    x: torch.Tensor,
    weight: torch.Tensor,
    weight_scale: torch.Tensor,
    bias: torch.Tensor | None = None,
    activation: str = "none",
    *,
    added: torch.Tensor | None = None,
    factor: torch.Tensor | None = None,
    out: torch.Tensor | None = None,
    backend: str | None = None,
) -> torch.Tensor:
    """Multiplies rows by a weight of 8 bits, each row rounded to 8 bits by a scale of its own.

        scale[i] = max_j |x[i, j]| / 127          q[i, j] = round(x[i, j] / scale[i])
        y[i, o] = scale[i] weight_scale[o] sum_j q[i, j] (weight[o, j] - 128) + bias[o]
        out[i, o] = activation(y[i, o]) (+ added[i, o], or * factor[i, o])

    Args:
        x: [row, in] float32, bfloat16 or float16; rows are contiguous, at any stride.
        weight, weight_scale: [out / 16, in / 4, 16, 4] uint8 and [out] float32, both contiguous,
            by `pack_int8_weight`; in is at most 131,072.
        bias: [out] in the dtype of `x`, contiguous, or None.
        activation: "none", "relu", "silu", "gelu" (by erf), "gelu_tanh", or "quick_gelu".
        added, factor: [row, out] in the dtype of `x`, rows contiguous; one of them at most.
        out: memory to fill and return instead of allocating; may be `added` or `factor`.
        backend: "cpu" or "torch"; None for the best available.

    Returns:
        `out`, or a new tensor: [row, out] in the dtype of `x`. A row with NaN or infinity in it
        gives NaN.

    Raises:
        TypeError: an argument of the wrong type or dtype.
        ValueError: a wrong shape, stride, device or activation, or, with gradients enabled, a
            tensor that requires grad.
        BackendUnavailable: the named backend cannot run here; the message says why.

    Cost: row * in * out multiply-adds of bytes, with AVX512-VNNI twice as many a second as of
    bfloat16. The sums are exact, so a row has the same bits whatever its neighbours and the number
    of threads, on one backend. Not differentiable.
    Source: Dettmers et al. 2022 (arXiv 2208.07339), without the outliers.
    """
    compute = choose(OPERATOR, "x", x, backend)
    if activation not in ACTIVATIONS:
        expected = f"one of {', '.join(ACTIVATIONS)}"
        raise invalid("int8_linear", "activation", expected, activation)
    check_tensor(OPERATOR, "weight_scale", weight_scale)
    if out is None:
        out = x.new_empty(x.shape[0], weight_scale.numel())
    number = ACTIVATIONS.index(activation)
    compute(x, weight, weight_scale, bias, number, added, factor, out)
    return out
