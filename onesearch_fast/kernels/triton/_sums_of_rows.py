"""Weighted sums of table rows by lists: `sid_embedding_bag` by bag, its gradient by row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate

import torch
import triton
import triton.language as tl

# Rows that a program adds at once, as many as an item has levels at most, and how often it does so
# before it waits; columns of them, in two widths, each of which is compiled; and its warps, one of
# which reads 16 bytes a lane.
_BLOCK_TERMS, _UNROLLED = 8, 4
_NARROW_BLOCK, _WIDE_BLOCK = 32, 256
_WARPS = 1


@dataclass(frozen=True, eq=False)
class Lists:
    """List n adds rows index[t] with weights[t], t in [begin[n], begin[n + 1]).

    Attributes:
        index: int32 [term]; -1 adds nothing.
        weights: float32 [term]; None for 1.
        begin: int64 [list + 1].
    """

    index: torch.Tensor
    weights: torch.Tensor | None
    begin: torch.Tensor


@triton.jit
def _sums_of_rows_kernel(
    index_ptr,
    weights_ptr,
    begin_ptr,
    table_ptr,
    row_scales_ptr,
    initial_ptr,
    list_scales_ptr,
    out_ptr,
    dim,
    stride_table_row,
    stride_out_row,
    BLOCK_TERMS: tl.constexpr,
    BLOCK_DIM: tl.constexpr,
    UNROLLED: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BLOCK_DIM + tl.arange(0, BLOCK_DIM)
    inside = column < dim
    total = tl.zeros([BLOCK_DIM], tl.float32)
    if initial_ptr is not None:
        total += tl.load(initial_ptr + row * dim + column, mask=inside, other=0.0)
    begin = tl.load(begin_ptr + row)
    end = tl.load(begin_ptr + row + 1)
    for first in tl.range(begin, end, BLOCK_TERMS, loop_unroll_factor=UNROLLED):
        term = first + tl.arange(0, BLOCK_TERMS)
        index = tl.load(index_ptr + term, mask=term < end, other=-1).to(tl.int64)
        present = index >= 0
        at = table_ptr + index[:, None] * stride_table_row + column[None, :]
        values = tl.load(at, mask=present[:, None] & inside[None, :], other=0.0).to(tl.float32)
        if row_scales_ptr is not None:
            scale = tl.load(row_scales_ptr + index, mask=present, other=0.0)
            values = values * scale[:, None]
        if weights_ptr is not None:
            weight = tl.load(weights_ptr + term, mask=present, other=0.0)
            values = values * weight[:, None]
        total += tl.sum(values, axis=0)
    if list_scales_ptr is not None:
        total = total * tl.load(list_scales_ptr + row)
    to = out_ptr + row * stride_out_row + column
    tl.store(to, total.to(out_ptr.dtype.element_ty), mask=inside)


def sum_rows(
    lists: Lists,
    table: torch.Tensor,
    row_scales: torch.Tensor | None,
    out: torch.Tensor,
    list_scales: torch.Tensor | None = None,
    initial: torch.Tensor | None = None,
) -> None:
    """out[n] = list_scales[n] * (initial[n] + sum over list n of row_scales * weights * rows).

    initial: float32 [list, dim], contiguous.
    """
    num_lists, dim = out.shape
    if num_lists == 0 or dim == 0:
        return
    block = _NARROW_BLOCK if dim <= _NARROW_BLOCK else _WIDE_BLOCK
    _sums_of_rows_kernel[(num_lists, triton.cdiv(dim, block))](
        lists.index,
        lists.weights,
        lists.begin,
        table,
        row_scales,
        initial,
        list_scales,
        out,
        dim,
        table.stride(0),
        out.stride(0),
        BLOCK_TERMS=_BLOCK_TERMS,
        BLOCK_DIM=block,
        UNROLLED=_UNROLLED,
        num_warps=_WARPS,
    )


def rows_of(codes: torch.Tensor, level_sizes: Sequence[int]) -> torch.Tensor:
    """int32 [item, level]: rows of the table; -1 where there is no code."""
    first = _first_rows(tuple(level_sizes), codes.device)
    return torch.where(codes >= 0, codes + first[: codes.shape[1]], -1)


# A copy from the host makes it wait for the device, and no graph can hold one.
@lru_cache(maxsize=64)
def _first_rows(level_sizes: tuple[int, ...], device: torch.device) -> torch.Tensor:
    """int32 [level]: the row of each level's code 0."""
    return torch.tensor([0, *accumulate(level_sizes[:-1])], dtype=torch.int32, device=device)


def item_weights(weights: torch.Tensor | None, levels: int) -> torch.Tensor | None:
    """Of every term of every item, [item * level]."""
    return None if weights is None else weights.repeat_interleave(levels)
