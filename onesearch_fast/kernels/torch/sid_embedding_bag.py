"""The reference of `sid_embedding_bag`, in float64."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from onesearch_fast import _C
from onesearch_fast.registry import Implementation


def terms(
    codes: torch.Tensor, level_sizes: Sequence[int], offsets: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(item, row, bag) of every code that is not -1, items and levels in order."""
    first_rows = torch.tensor([0, *level_sizes]).cumsum(0)[:-1]
    item, level = (codes >= 0).nonzero(as_tuple=True)
    bag = torch.searchsorted(offsets, item, right=True) - 1
    return item, codes[item, level] + first_rows[level], bag


def sid_embedding_bag(
    codes: torch.Tensor,
    table: torch.Tensor,
    level_sizes: Sequence[int],
    offsets: torch.Tensor,
    weights: torch.Tensor | None,
    bag_scales: torch.Tensor | None,
    row_scales: torch.Tensor | None,
    side_ids: torch.Tensor | None,
    side_table: torch.Tensor | None,
    out: torch.Tensor,
) -> None:
    """Writes the scaled sums of the bags into `out`."""
    _C.check_sid_embedding_bag(
        codes,
        table,
        level_sizes,
        offsets,
        weights,
        bag_scales,
        row_scales,
        side_ids,
        side_table,
        out,
    )
    item, row, bag = terms(codes, level_sizes, offsets)
    rows = table.double() if row_scales is None else table.double() * row_scales[:, None]
    weight = torch.ones(len(codes)) if weights is None else weights
    sums = torch.zeros(out.shape, dtype=torch.float64)
    sums.index_add_(0, bag, rows[row] * weight[item, None])
    if side_ids is not None and side_table is not None:
        item, row, bag = terms(side_ids, [len(side_table)], offsets)
        sums.index_add_(0, bag, side_table.double()[row] * weight[item, None])
    out.copy_(sums if bag_scales is None else sums * bag_scales[:, None])


IMPLEMENTATION = Implementation(
    backend="torch",
    device_types=("cpu",),
    dtypes=(torch.float32, torch.bfloat16, torch.float16, torch.int8),
    why_not=lambda: None,
    function=sid_embedding_bag,
)
