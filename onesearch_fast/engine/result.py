"""What a search returns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from onesearch_fast.engine.expansion import Bools, Ints, ItemsByRank, RankedItems
from onesearch_fast.engine.filters import Filters, allowed_items
from onesearch_fast.engine.numbers import whole_number


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
    _filters: Filters = field(repr=False)

    def item_ids(self, k: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The first `k` items of each request: beams in order, each SID's items best prior first.

        Items that a filter of the search refuses are left out, also where they share an SID with
        allowed ones.

        Returns:
            (item_ids, counts): int64 [batch, k] padded with -1, and int64 [batch]. Fewer than `k`
            when the beams hold fewer.
        """
        found = self.ranked_items(whole_number("GenerateResult.item_ids", "k", k, 1))
        device = self.rank.device
        return (
            torch.from_numpy(found.item_ids).to(device),
            torch.from_numpy(found.count).to(device),
        )

    def ranked_items(
        self,
        k: int,
        items_per_sid: int | None = None,
        last: Bools | None = None,
        dropped: Bools | None = None,
        removed: Ints | None = None,
    ) -> RankedItems:
        """`item_ids` with the choices of `ItemsByRank.expand`, and the beam of each item."""
        return self._items().expand(
            self.rank.cpu().numpy(),
            k,
            items_per_sid=items_per_sid,
            allowed=allowed_items(self._filters),
            last=last,
            dropped=dropped,
            removed=removed,
        )
