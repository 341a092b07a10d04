"""What the references of products with packed weights share."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812

# By number, as in `ops._products.ACTIVATIONS`.
_ACTIVATIONS = (
    lambda y: y,
    F.relu,
    F.silu,
    F.gelu,
    lambda y: F.gelu(y, approximate="tanh"),
    lambda y: y * torch.sigmoid(1.702 * y),
)


def finish(
    y: torch.Tensor,
    bias: torch.Tensor | None,
    activation: int,
    added: torch.Tensor | None,
    factor: torch.Tensor | None,
    out: torch.Tensor,
) -> None:
    """out = activation(y + bias) (+ added, or * factor), rounded once."""
    if bias is not None:
        y += bias
    y = _ACTIVATIONS[activation](y)
    if added is not None:
        y += added
    out.copy_(y if factor is None else y * factor)
