"""Matrix products of the served models, by the fastest kernel of torch for the tensors at hand."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812

from onesearch_fast.models.activations import Activation
from onesearch_fast.models.int8_weight import Int8Weight
from onesearch_fast.models.onednn_weight import OnednnWeight
from onesearch_fast.ops import int8_linear

Weight = torch.Tensor | Int8Weight | OnednnWeight

# float32 F.linear goes to MKL, which on AMD processors runs at less than half of oneDNN's speed
# (100 against 230 GFLOP/s on one core of an AVX-512 EPYC). This operator, which torch.compile emits
# on CPU, is the way to oneDNN, and to products that end in an activation or a sum (in bfloat16,
# 434 GFLOP/s for a product and its GELU against 217 one after the other).
_onednn: Any = None
if torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
    _onednn = getattr(torch.ops.mkldnn, "_linear_pointwise", None)

# float16 products need instructions that few processors have; torch knows what to do without.
_ONEDNN_DTYPES = (torch.float32, torch.bfloat16)


def ends_in_products(device: torch.device) -> bool:
    """Whether a product takes in what follows it; on a GPU one more kernel takes all of it in."""
    return device.type == "cpu"


def linear(
    x: torch.Tensor,
    weight: Weight,
    bias: torch.Tensor | None = None,
    activation: Activation | None = None,
) -> torch.Tensor:
    """activation(x W^T + b): x [rows, in], weight [out, in], bias [out] -> [rows, out]."""
    if isinstance(weight, Int8Weight):
        name = "none" if activation is None else activation.name
        return int8_linear(x, weight.packed, weight.scale, bias, name)
    y: torch.Tensor
    if _takes_onednn(x):
        name, algorithm = (activation and activation.fused) or ("none", "")
        y = _onednn(x, _tensor(weight), bias, name, [], algorithm)
        if activation is None or activation.fused is not None:
            return y
    else:
        y = F.linear(x, _tensor(weight), bias)
    return y if activation is None else activation.function(y)


def linear_add(
    x: torch.Tensor, weight: Weight, bias: torch.Tensor | None, residual: torch.Tensor
) -> torch.Tensor:
    """residual + x W^T + b, the sum taken into the product where the kernel can."""
    if isinstance(weight, Int8Weight):
        return int8_linear(x, weight.packed, weight.scale, bias, added=residual)
    if _takes_onednn(x):
        y: torch.Tensor = _onednn.binary(x, residual, _tensor(weight), bias, "add")
        return y
    return F.linear(x, _tensor(weight), bias).add_(residual)


def linear_mul(
    x: torch.Tensor, weight: Weight, bias: torch.Tensor | None, factor: torch.Tensor
) -> torch.Tensor:
    """factor * (x W^T + b), elementwise, taken into the product where the kernel can."""
    if isinstance(weight, Int8Weight):
        return int8_linear(x, weight.packed, weight.scale, bias, factor=factor)
    if _takes_onednn(x):
        y: torch.Tensor = _onednn.binary(x, factor, _tensor(weight), bias, "mul")
        return y
    return F.linear(x, _tensor(weight), bias).mul_(factor)


def _takes_onednn(x: torch.Tensor) -> bool:
    return _onednn is not None and x.dtype in _ONEDNN_DTYPES and x.device.type == "cpu"


def _tensor(weight: torch.Tensor | OnednnWeight) -> torch.Tensor:
    return weight.packed if isinstance(weight, OnednnWeight) else weight
