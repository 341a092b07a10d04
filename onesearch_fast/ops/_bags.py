"""What the two sid_embedding_bag operators share: items in bags, brought into one form."""

from __future__ import annotations

import torch

from onesearch_fast.errors import invalid
from onesearch_fast.registry import Operator


def as_codes(operator: Operator, argument: str, codes: torch.Tensor, num_axes: int) -> torch.Tensor:
    """Integers as contiguous int32; what does not fit stays out of range."""
    _check_integers(operator, argument, codes, num_axes)
    if codes.dtype is torch.int64:
        codes = codes.clamp(-2, 2**31 - 1)
    return codes.to(torch.int32).contiguous()


def as_offsets(
    operator: Operator, offsets: torch.Tensor | None, codes: torch.Tensor
) -> torch.Tensor:
    """int64 [bag + 1]; without offsets, each item is a bag."""
    if offsets is None:
        return torch.arange(len(codes) + 1, device=codes.device)
    _check_integers(operator, "offsets", offsets, 1)
    if not len(offsets):
        raise invalid(operator.name, "offsets", "[bag + 1]", (0,), "begin with 0")
    return offsets.to(torch.int64).contiguous()


def mean_scales(codes: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
    """float32 [bag]: 1 / the items of a bag that have a code, 1 where there are none."""
    count = torch.zeros(len(codes) + 1, dtype=torch.int64, device=codes.device)
    torch.cumsum((codes >= 0).any(1), 0, out=count[1:])
    edges = offsets.clamp(0, len(codes))  # offsets out of range are refused later, by name
    return 1 / count[edges].diff().clamp(min=1).float()


def bag_of_item(offsets: torch.Tensor, num_items: int) -> torch.Tensor:
    """int64 [item]: the bag of each item."""
    bags = torch.arange(len(offsets) - 1, device=offsets.device)
    return bags.repeat_interleave(offsets.diff(), output_size=num_items)


def _check_integers(operator: Operator, argument: str, tensor: torch.Tensor, num_axes: int) -> None:
    if not isinstance(tensor, torch.Tensor):
        remedy = "use torch.as_tensor"
        raise invalid(operator.name, argument, "a torch.Tensor", type(tensor), remedy, TypeError)
    if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype is torch.bool:
        raise invalid(operator.name, argument, "integers", tensor.dtype, kind=TypeError)
    if tensor.ndim != num_axes:
        axes = ", ".join(operator.axes[argument])
        raise invalid(operator.name, argument, f"shape [{axes}]", tuple(tensor.shape))
