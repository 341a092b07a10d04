"""`sid_embedding_bag` in Triton: a program a bag and block of columns."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from onesearch_fast import _C
from onesearch_fast.kernels.triton._sums_of_rows import Lists, item_weights, rows_of, sum_rows
from onesearch_fast.kernels.triton._support import DEVICE_TYPES, DTYPES, why_not
from onesearch_fast.registry import Implementation


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
    levels = codes.shape[1]
    rows = rows_of(codes, level_sizes).flatten()
    lists = Lists(rows, item_weights(weights, levels), offsets * levels)
    if side_ids is None or side_table is None:
        sum_rows(lists, table, row_scales, out, bag_scales)
        return
    sums = torch.empty(out.shape, dtype=torch.float32, device=out.device)
    sum_rows(lists, table, row_scales, sums)
    sum_rows(Lists(side_ids.flatten(), weights, offsets), side_table, None, out, bag_scales, sums)


IMPLEMENTATION = Implementation(
    backend="triton",
    device_types=DEVICE_TYPES,
    dtypes=(*DTYPES, torch.int8),
    why_not=why_not,
    function=sid_embedding_bag,
)
