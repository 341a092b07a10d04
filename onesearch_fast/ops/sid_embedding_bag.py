"""Sums of the embeddings of semantic IDs over bags of items: contract, choice, gradient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch.autograd.function import once_differentiable

from onesearch_fast.errors import invalid
from onesearch_fast.ops._arguments import check_main, choose
from onesearch_fast.ops._bags import as_codes, as_offsets, bag_of_item, mean_scales
from onesearch_fast.ops.sid_embedding_bag_backward import sid_embedding_bag_backward
from onesearch_fast.registry import Operator, Tolerance

OPERATOR = Operator(
    name="sid_embedding_bag",
    axes={
        "codes": ("item", "level"),
        "table": ("row", "dim"),
        "offsets": ("bag + 1",),
        "weights": ("item",),
        "row_scales": ("row",),
        "side_ids": ("item",),
        "side_table": ("side_row", "dim"),
        "out": ("bag", "dim"),
    },
    dtypes=(torch.float32, torch.bfloat16, torch.float16, torch.int8),
    # Sums of hundreds of terms in float32, in another order; half-width ones are rounded once.
    tolerance={
        torch.float32: Tolerance(1e-4, 1e-4),
        torch.bfloat16: Tolerance(8e-3, 1e-3),
        torch.float16: Tolerance(1e-3, 1e-3),
        torch.int8: Tolerance(1e-4, 1e-3),
    },
    exact=(),
)


@dataclass(frozen=True, eq=False)
class _Items:
    """All that is not differentiated, as implementations take it."""

    codes: torch.Tensor
    level_sizes: tuple[int, ...]
    offsets: torch.Tensor
    bag_scales: torch.Tensor | None
    row_scales: torch.Tensor | None
    side_ids: torch.Tensor | None
    backend: str | None

    def sums(
        self,
        table: torch.Tensor,
        weights: torch.Tensor | None,
        side_table: torch.Tensor | None,
        out: torch.Tensor,
    ) -> torch.Tensor:
        choose(OPERATOR, "table", table, self.backend)(
            self.codes,
            table,
            self.level_sizes,
            self.offsets,
            weights,
            self.bag_scales,
            self.row_scales,
            self.side_ids,
            side_table,
            out,
        )
        return out


def sid_embedding_bag(
    codes: torch.Tensor,
    table: torch.Tensor,
    level_sizes: Sequence[int],
    *,
    offsets: torch.Tensor | None = None,
    weights: torch.Tensor | None = None,
    mode: Literal["sum", "mean"] = "sum",
    row_scales: torch.Tensor | None = None,
    side_ids: torch.Tensor | None = None,
    side_table: torch.Tensor | None = None,
    out: torch.Tensor | None = None,
    backend: str | None = None,
) -> torch.Tensor:
    """Sums the rows of all codes of all items of each bag.

        row(i, l) = level_sizes[0] + ... + level_sizes[l - 1] + codes[i, l]
        out[b] = scale_b * sum over items i of bag b of weights[i] *
                 (sum over levels l of row_scales[row(i, l)] * table[row(i, l)]
                  + side_table[side_ids[i]])

    in float32, rounded once; scale_b is 1, or for `mode="mean"` 1 / (items of the bag with a code).
    A code of -1 adds no row, and a side id of -1 none, so that an item of -1 is padding.

    Args:
        codes: [item, level] integers local to each level, the items of all bags one behind the
            other; -1 where there is none.
        table: [row, dim] float32, bfloat16, float16 or int8, the levels' tables below one another;
            rows are contiguous, at any stride.
        level_sizes: rows of each level's table.
        offsets: [bag + 1] integers: bag b holds the items [offsets[b], offsets[b + 1]), and all
            items are in a bag. None: each item is a bag.
        weights: [item] float32; None for 1.
        row_scales: [row] float32: what an int8 row is multiplied by. Needed with int8 alone.
        side_ids, side_table: [item] integers and [side_row, dim] floats: a second table, as of
            positions, from which each item adds one row.
        out: memory to fill and return instead of allocating, of any float type above. Not with
            gradients.
        backend: "cpu", "triton" or "torch"; None for the best available.

    Returns:
        `out`, or a new tensor: [bag, dim] in the dtype of `table`, float32 for int8.

    Raises:
        TypeError: an argument of the wrong type or dtype.
        ValueError: a wrong shape, stride or device; a code, side id or offset out of range.
        BackendUnavailable: the named backend cannot run here; the message says why.

    On a GPU values are not looked at: a code out of range reads what is not there.
    Differentiable in `table` (unless int8), `weights` and `side_table`, once. Sums and gradients
    have the same bits whatever the number of threads, on one backend.
    Cost: 64 bags are summed together. A level that they look up 8 times a row or more is copied
    into the core's cache tile by tile, and then read from there; others are read where they lie.
    """
    check_main(OPERATOR, "table", table)
    if mode not in ("sum", "mean"):
        raise invalid("sid_embedding_bag", "mode", "'sum' or 'mean'", mode)
    if (side_ids is None) != (side_table is None):
        raise invalid("sid_embedding_bag", "side_ids", "side_ids and side_table", "one of them")
    codes = as_codes(OPERATOR, "codes", codes)
    offsets = as_offsets(OPERATOR, offsets, codes)
    items = _Items(
        codes,
        tuple(int(size) for size in level_sizes),
        offsets,
        mean_scales(codes, offsets) if mode == "mean" else None,
        row_scales,
        None if side_ids is None else as_codes(OPERATOR, "side_ids", side_ids).unsqueeze(1),
        backend,
    )
    inputs = [tensor for tensor in (table, weights, side_table) if tensor is not None]
    if not torch.is_grad_enabled() or not any(tensor.requires_grad for tensor in inputs):
        out = _empty(items, table) if out is None else out
        return items.sums(table.detach(), _detached(weights), _detached(side_table), out)
    if out is not None:
        raise invalid("sid_embedding_bag", "out", "None with gradients", "a tensor", "leave it out")
    sums: torch.Tensor = _SidEmbeddingBag.apply(items, table, weights, side_table)  # type: ignore[no-untyped-call]
    return sums


def _empty(items: _Items, table: torch.Tensor) -> torch.Tensor:
    dtype = torch.float32 if table.dtype is torch.int8 else table.dtype
    shape = len(items.offsets) - 1, table.shape[1]
    return torch.empty(shape, dtype=dtype, device=table.device)


class _SidEmbeddingBag(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        items: _Items,
        table: torch.Tensor,
        weights: torch.Tensor | None,
        side_table: torch.Tensor | None,
    ) -> torch.Tensor:
        ctx.items = items
        ctx.save_for_backward(table, weights, side_table)
        table, out = table.detach(), _empty(items, table)
        return items.sums(table, _detached(weights), _detached(side_table), out)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        items: _Items = ctx.items
        table, weights, side_table = map(_detached, ctx.saved_tensors)
        grad_out = grad_out.contiguous()

        def grad_rows(codes: Any, sizes: tuple[int, ...], rows: Any) -> torch.Tensor:
            gradient = sid_embedding_bag_backward(
                grad_out,
                codes,
                sizes,
                items.offsets,
                weights,
                items.bag_scales,
                backend=items.backend,
            )
            return gradient.to(rows.dtype)

        _, of_table, of_weights, of_side = ctx.needs_input_grad
        side_rows = 0 if side_table is None else len(side_table)
        return (
            None,
            grad_rows(items.codes, items.level_sizes, table) if of_table else None,
            _grad_weights(items, grad_out, table, side_table) if of_weights else None,
            grad_rows(items.side_ids, (side_rows,), side_table) if of_side else None,
        )


def _detached(tensor: torch.Tensor | None) -> torch.Tensor | None:
    return None if tensor is None else tensor.detach()


def _grad_weights(
    items: _Items, grad_out: torch.Tensor, table: Any, side_table: torch.Tensor | None
) -> torch.Tensor:
    """The gradient of an item's weight: its own embedding times that of its bag's sum."""
    alone = torch.arange(len(items.codes) + 1, device=items.offsets.device)
    embeddings = torch.empty(len(items.codes), table.shape[1], device=table.device)
    replace(items, offsets=alone, bag_scales=None).sums(table, None, side_table, embeddings)
    gradient = grad_out.float()
    if items.bag_scales is not None:
        gradient = gradient * items.bag_scales[:, None]
    return (embeddings * gradient[bag_of_item(items.offsets, len(embeddings))]).sum(-1)
