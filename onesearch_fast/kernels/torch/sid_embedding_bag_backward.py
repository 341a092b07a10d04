"""The reference of `sid_embedding_bag_backward`, in float64."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from onesearch_fast import _C
from onesearch_fast.kernels.torch.sid_embedding_bag import terms
from onesearch_fast.registry import Implementation


def sid_embedding_bag_backward(
    grad_out: torch.Tensor,
    codes: torch.Tensor,
    level_sizes: Sequence[int],
    offsets: torch.Tensor,
    weights: torch.Tensor | None,
    bag_scales: torch.Tensor | None,
    out: torch.Tensor,
) -> None:
    """Writes the gradient of the table into `out`."""
    _C.check_sid_embedding_bag_backward(
        grad_out, codes, level_sizes, offsets, weights, bag_scales, out
    )
    item, row, bag = terms(codes, level_sizes, offsets)
    gradient = grad_out.double()
    if bag_scales is not None:
        gradient = gradient * bag_scales[:, None]
    weight = torch.ones(len(codes)) if weights is None else weights
    sums = torch.zeros(out.shape, dtype=torch.float64)
    out.copy_(sums.index_add_(0, row, gradient[bag] * weight[item, None]))


IMPLEMENTATION = Implementation(
    backend="torch",
    device_types=("cpu",),
    dtypes=(torch.float32, torch.bfloat16, torch.float16),
    why_not=lambda: None,
    function=sid_embedding_bag_backward,
)
