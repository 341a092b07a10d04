"""What the two sid_embedding_bag operators share: items in bags, brought into one form."""

from __future__ import annotations

import torch

from onesearch_fast.errors import invalid
from onesearch_fast.ops._arguments import check_integers
from onesearch_fast.registry import Operator


def as_codes(operator: Operator, argument: str, codes: torch.Tensor) -> torch.Tensor:
    """Integers as contiguous int32; what does not fit stays out of range."""
    check_integers(operator, argument, codes)
    if codes.dtype is torch.int64:
        codes = codes.clamp(-2, 2**31 - 1)
    return codes.to(torch.int32).contiguous()


def as_offsets(
    operator: Operator, offsets: torch.Tensor | None, codes: torch.Tensor
) -> torch.Tensor:
    """int64 [bag + 1]; without offsets, each item is a bag."""
    if offsets is None:
        return torch.arange(len(codes) + 1, device=codes.device)
    check_integers(operator, "offsets", offsets)
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
