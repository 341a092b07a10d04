"""Embeddings of semantic IDs and of histories of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import nn

from onesearch_fast.errors import invalid
from onesearch_fast.ops import sid_embedding_bag


class SidEmbedding(nn.Module):
    """One row a code, the levels' tables below one another; an SID is the sum of its codes' rows.

        codes [item, level]        -> [item, dim]:  e_i = sum over levels l of weight[row(i, l)]
        codes [bag, slot, level]   -> [bag, dim]:   sum or mean over the items of a history of
                                                    e_i + positions[slot of i]

    A code of -1 is padding: it adds nothing, and a slot of -1 only is not counted in a mean. One
    fused operator, forward and backward; the gradient of `weight` has the same bits whatever the
    number of threads.

    Args:
        level_sizes: codes of each level.
        dim: width of the rows.
        mode: "sum" or "mean" over a history.
        max_positions: slots of a history that have a row in `positions`; 0 for none.
    """

    def __init__(
        self,
        level_sizes: Sequence[int],
        dim: int,
        mode: Literal["sum", "mean"] = "sum",
        max_positions: int = 0,
    ) -> None:
        super().__init__()
        if not level_sizes or min(level_sizes) < 1:
            expected = "sizes of at least 1, one a level"
            raise invalid("SidEmbedding", "level_sizes", expected, tuple(level_sizes))
        if dim < 1:
            raise invalid("SidEmbedding", "dim", "at least 1", dim)
        if max_positions < 0:
            raise invalid("SidEmbedding", "max_positions", "at least 0", max_positions)
        self.level_sizes = tuple(int(size) for size in level_sizes)
        self.mode = mode
        self.weight = nn.Parameter(torch.empty(sum(self.level_sizes), dim))
        self.positions = nn.Parameter(torch.empty(max_positions, dim)) if max_positions else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Normal rows of deviation 0.02, positions of zero."""
        nn.init.normal_(self.weight, std=0.02)
        if self.positions is not None:
            nn.init.zeros_(self.positions)

    @torch.no_grad()
    def start_from(self, centroids: Sequence[torch.Tensor]) -> SidEmbedding:
        """Takes each level's rows from centroids [level size, dim], as of `Codebooks.levels`."""
        shapes = [tuple(table.shape) for table in centroids]
        wanted = [(size, self.weight.shape[1]) for size in self.level_sizes]
        if shapes != wanted:
            remedy = "OPQ levels code a part of the vector: leave them out, or lift them first"
            raise invalid("SidEmbedding.start_from", "centroids", f"{wanted}", f"{shapes}", remedy)
        self.weight.copy_(torch.cat(list(centroids)))
        return self

    def forward(self, codes: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        """codes: integers [item, level], or [bag, slot, level] with `lengths` [bag] or -1 behind.

        Raises ValueError for a code that is not in its level, or more slots than positions.
        """
        if codes.dim() == 2:
            if lengths is not None:
                expected = "[bag, slot, level] with lengths"
                raise invalid("SidEmbedding", "codes", expected, tuple(codes.shape))
            return sid_embedding_bag(codes, self.weight, self.level_sizes)
        if codes.dim() != 3:
            expected = "[item, level] or [bag, slot, level]"
            raise invalid("SidEmbedding", "codes", expected, tuple(codes.shape))
        return self._histories(codes if lengths is None else _cut(codes, lengths))

    def _histories(self, codes: torch.Tensor) -> torch.Tensor:
        num_bags, num_slots, num_levels = codes.shape
        side_ids = None
        if self.positions is not None:
            if num_slots > len(self.positions):
                expected = f"at most {len(self.positions)} slots"
                raise invalid("SidEmbedding", "codes", expected, num_slots, "cut the history")
            slots = torch.arange(num_slots, device=codes.device).expand(num_bags, -1)
            side_ids = slots.where((codes >= 0).any(2), -1).flatten()
        return sid_embedding_bag(
            codes.reshape(num_bags * num_slots, num_levels),
            self.weight,
            self.level_sizes,
            offsets=torch.arange(num_bags + 1, device=codes.device) * num_slots,
            mode=self.mode,
            side_ids=side_ids,
            side_table=self.positions,
        )

    def extra_repr(self) -> str:
        return f"level_sizes={self.level_sizes}, dim={self.weight.shape[1]}, mode={self.mode!r}"


def _cut(codes: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """-1 from each history's length on."""
    if lengths.shape != codes.shape[:1] or bool(((lengths < 0) | (lengths > codes.shape[1])).any()):
        expected = f"[{len(codes)}] lengths from 0 to {codes.shape[1]}"
        raise invalid("SidEmbedding", "lengths", expected, lengths)
    slots = torch.arange(codes.shape[1], device=codes.device)
    return codes.where((slots < lengths[:, None])[:, :, None], -1)
