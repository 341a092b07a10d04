"""Rotary positions, with the norm of heads before them: contract, checks, choice."""

from __future__ import annotations

import torch

from onesearch_fast.ops import _library
from onesearch_fast.ops._arguments import check_main, check_values
from onesearch_fast.registry import Operator, Tolerance, select

OPERATOR = Operator(
    name="rotary",
    axes={
        "x": ("batch", "token", "head", "head_dim"),
        "rotation": ("batch", "token", "head_dim"),
        "norm_weight": ("head", "head_dim"),
        "out": ("batch", "token", "head", "head_dim"),
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


def rotary(
    x: torch.Tensor,
    rotation: torch.Tensor,
    norm_weight: torch.Tensor | None = None,
    eps: float = 1e-6,
    *,
    out: torch.Tensor | None = None,
    backend: str | None = None,
) -> torch.Tensor:
    """Turns pairs of every head by the angles of its token, after its norm where there is one.

    With h = x, or `rms_norm` of x over head_dim by norm_weight[head], half = head_dim / 2, and
    (cos, sin) the two halves of the token's rotation:

        out[..., :half] = h[..., :half] cos - h[..., half:] sin
        out[..., half:] = h[..., half:] cos + h[..., :half] sin     in float32, rounded once

    Args:
        x: [batch, token, head, head_dim] float32, bfloat16 or float16; head_dim even and
            contiguous, the other axes at any strides, as in a cut from a joint product.
        rotation: [batch, token, head_dim] float32, cosines and then sines; the last axis
            contiguous, others may be expanded.
        norm_weight: [head, head_dim] in the dtype of `x`; None for no norm.
        eps: finite and at least 0.
        out: memory to fill and return instead of allocating; may be `x`.
        backend: "cpu", "triton" or "torch"; None for the best available.

    Returns:
        `out`, or a new tensor in the shape and dtype of `x`.

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
        arguments = (x, rotation, norm_weight, eps, backend)
        traced: torch.Tensor = torch.ops.onesearch.rotary(*arguments)
        return traced
    check_main(OPERATOR, "x", x)
    if torch.is_grad_enabled():
        check_values(OPERATOR, x=x, rotation=rotation, norm_weight=norm_weight, out=out)
    implementation = select(OPERATOR, x.device.type, x.dtype, backend)
    if out is None:
        out = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    implementation.function(x, rotation, norm_weight, eps, out)
    return out


_library.define(
    "rotary(Tensor x, Tensor rotation, Tensor? norm_weight, float eps, str? backend) -> Tensor",
    lambda *arguments: rotary(*arguments[:4], backend=arguments[4]),
    lambda x, rotation, norm_weight, eps, backend: x.new_empty(x.shape),
)
