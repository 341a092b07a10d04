"""The reference of `bf16_linear`: a product of float32."""

from __future__ import annotations

import torch

from onesearch_fast import _C
from onesearch_fast.kernels.torch._products import finish
from onesearch_fast.registry import Implementation


def bf16_linear(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    activation: int,
    added: torch.Tensor | None,
    factor: torch.Tensor | None,
    out: torch.Tensor,
) -> None:
    """Writes the products of the rows of `x` into `out`."""
    _C.check_bf16_linear(x, weight, bias, activation, added, factor, out)
    matrix = weight.transpose(1, 2).reshape(out.shape[1], x.shape[1])
    finish(x.float() @ matrix.float().T, bias, activation, added, factor, out)


IMPLEMENTATION = Implementation(
    backend="torch",
    device_types=("cpu",),
    dtypes=(torch.bfloat16,),
    why_not=lambda: None,
    function=bf16_linear,
)
