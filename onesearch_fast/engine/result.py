"""What a search returns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from onesearch_fast.engine.expansion import Bools, ItemsByRank
from onesearch_fast.errors import invalid
from onesearch_fast.index.item_filter import ItemFilter


@dataclass(frozen=True)
class GenerateResult:
    """The beams of each request, best first; entries at or past `count` are -1, scores -inf.

    Attributes:
        codes: [batch, beam, level] int32, local to each level.
        scores: [batch, beam] float32, plain sums of log-probabilities in nats.
        rank: [batch, beam] int64, the SID's rank in the trie; -1 where it is none of the trie's.
        count: [batch] int32, beams found.
        weight_version: of the weights that made them.
    """

    codes: torch.Tensor
    scores: torch.Tensor
    rank: torch.Tensor
    count: torch.Tensor
    weight_version: int
    _items: Callable[[], ItemsByRank] = field(repr=False)
    _filters: Sequence[ItemFilter | None] | None = field(repr=False)

    def item_ids(self, k: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The first `k` items of each request: beams in order, each SID's items best prior first.

        Items that a filter of the search refuses are left out, also where they share an SID with
        allowed ones.

        Returns:
            (item_ids, counts): int64 [batch, k] padded with -1, and int64 [batch]. Fewer than `k`
            when the beams hold fewer.
        """
        if not isinstance(k, int) or k < 1:
            raise invalid("GenerateResult.item_ids", "k", "an integer of at least 1", k)
        rank = self.rank.cpu().numpy()
        found = self._items().expand(rank, k, allowed=_allowed(self._filters, len(rank)))
        device = self.rank.device
        return (
            torch.from_numpy(found.item_ids).to(device),
            torch.from_numpy(found.count).to(device),
        )


def _allowed(filters: Sequence[ItemFilter | None] | None, batch: int) -> Bools | None:
    """One mask for all requests, or one row per request where they differ."""
    if filters is None or all(one is None for one in filters):
        return None
    first = filters[0]
    if first is not None and all(one is first for one in filters):
        return first.item_allowed()
    trie = next(one.trie for one in filters if one is not None)
    rows = np.ones((batch, trie.num_items), dtype=np.bool_)
    for row, one in zip(rows, filters, strict=True):
        if one is not None:
            row[:] = one.item_allowed()
    return rows
