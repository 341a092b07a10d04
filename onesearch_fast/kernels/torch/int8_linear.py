"""The reference of `int8_linear`: rows rounded in float32, summed in float64."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812

from onesearch_fast import _C
from onesearch_fast.registry import Implementation

# By number, as in `ops.int8_linear.ACTIVATIONS`.
_ACTIVATIONS = (
    lambda y: y,
    F.relu,
    F.silu,
    F.gelu,
    lambda y: F.gelu(y, approximate="tanh"),
    lambda y: y * torch.sigmoid(1.702 * y),
)


def int8_linear(
    x: torch.Tensor,
    weight: torch.Tensor,
    weight_scale: torch.Tensor,
    bias: torch.Tensor | None,
    activation: int,
    added: torch.Tensor | None,
    factor: torch.Tensor | None,
    out: torch.Tensor,
) -> None:
    """Writes the products of the rounded rows of `x` into `out`."""
    _C.check_int8_linear(x, weight, weight_scale, bias, activation, added, factor, out)
    whole, scale = _rounded(x)
    matrix = weight.transpose(1, 2).reshape(len(weight_scale), x.shape[1]).double() - 128
    y = whole.double() @ matrix.T * (scale.double() * weight_scale)
    if bias is not None:
        y += bias
    y = _ACTIVATIONS[activation](y)
    if added is not None:
        y += added
    out.copy_(y if factor is None else y * factor)


def _rounded(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows in whole numbers [row, in], and their scales [row, 1]; NaN where a row is not finite."""
    values = x.float()
    most = values.abs().amax(1, keepdim=True) if x.numel() else values.new_zeros(len(x), 1)
    # Divided as tensors are: `127 / most` takes a reciprocal first, and rounds twice. Of a row of
    # zeros, or of subnormals, all is rounded to zero.
    inverse = torch.where(most > 1e-35, torch.full_like(most, 127) / most, torch.zeros_like(most))
    sound = values.isfinite().all(1, keepdim=True)
    whole = torch.where(sound, (values * inverse).round(), torch.zeros_like(values))
    return whole, torch.where(sound, most / 127, torch.full_like(most, torch.nan))


IMPLEMENTATION = Implementation(
    backend="torch",
    device_types=("cpu",),
    dtypes=(torch.float32, torch.bfloat16, torch.float16),
    why_not=lambda: None,
    function=int8_linear,
)
