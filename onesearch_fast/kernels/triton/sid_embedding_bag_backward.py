"""`sid_embedding_bag_backward` in Triton: codes sorted by row, a program a row."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from onesearch_fast import _C
from onesearch_fast.kernels.triton._sums_of_rows import Lists, item_weights, rows_of, sum_rows
from onesearch_fast.kernels.triton._support import DEVICE_TYPES, DTYPES, why_not
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
    num_items, levels = codes.shape
    rows, order = rows_of(codes, level_sizes).flatten().sort(stable=True)
    places = torch.arange(len(out) + 1, dtype=torch.int32, device=rows.device)
    begin = torch.searchsorted(rows, places)
    items = order // max(1, levels)
    # The bag of an item: the last that begins at it or before.
    numbers = torch.arange(num_items, device=rows.device)
    bags = torch.searchsorted(offsets[1:].contiguous(), numbers, right=True).to(torch.int32)
    of_terms = item_weights(weights, levels)
    lists = Lists(bags[items], None if of_terms is None else of_terms[order], begin)
    sum_rows(lists, grad_out, bag_scales, out)


IMPLEMENTATION = Implementation(
    backend="triton",
    device_types=DEVICE_TYPES,
    dtypes=DTYPES,
    why_not=why_not,
    function=sid_embedding_bag_backward,
)
