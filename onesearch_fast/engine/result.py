"""What a search returns."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from onesearch_fast.engine.beam_search import Beams
from onesearch_fast.engine.catalogues import Catalogues
from onesearch_fast.engine.expansion import ALL_ITEMS, ExpansionRule, RankedItems, expand
from onesearch_fast.engine.filters import Filters
from onesearch_fast.engine.numbers import whole_number
from onesearch_fast.engine.search_batch import SearchBatch
from onesearch_fast.engine.statistics import GenerateStats


@dataclass(frozen=True)
class GenerateResult:
    """The beams of each request, best first; entries at or past `count` are -1, scores -inf.

    Attributes:
        codes: [batch, beam, level] int32, local to each level.
        scores: [batch, beam] float32, plain sums of log-probabilities in nats. Of an incomplete
            request: the sum over the levels scored, less the log of the number of children at each
            level after them, so that it compares beams but is no score of the model's.
        rank: [batch, beam] int64, the SID's rank in the trie; -1 where it is none of the trie's.
        count: [batch] int32, beams found.
        levels_scored: [batch] int32, levels that the model decided before the deadline.
        weight_version: of the weights that made them.
        stats: where the time went.
    """

    codes: torch.Tensor
    scores: torch.Tensor
    rank: torch.Tensor
    count: torch.Tensor
    levels_scored: torch.Tensor
    weight_version: int
    stats: GenerateStats
    _catalogues: Catalogues = field(repr=False)
    _filters: Filters = field(repr=False)

    @classmethod
    def make(
        cls, beams: Beams, batch: SearchBatch, weight_version: int, stats: GenerateStats
    ) -> GenerateResult:
        """What is given to the caller for these beams."""
        return cls(
            beams.codes,
            beams.scores,
            beams.rank,
            beams.count,
            beams.levels_scored,
            weight_version,
            stats,
            batch.catalogues,
            batch.filters,
        )

    @property
    def complete(self) -> torch.Tensor:
        """bool [batch]: False where a deadline cut the search short."""
        return self.levels_scored == self.codes.shape[2]

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

    def ranked_items(self, k: int, rule: ExpansionRule = ALL_ITEMS) -> RankedItems:
        """`item_ids` by a rule of choice, and the beam of each item."""
        return expand(self._catalogues, self._filters, self.rank.cpu().numpy(), k, rule)
