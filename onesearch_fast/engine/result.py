"""What a search returns."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from onesearch_fast.engine.beam_search import Beams
from onesearch_fast.engine.catalogues import Catalogues
from onesearch_fast.engine.expansion import (
    ALL_ITEMS,
    MAX_ITEMS,
    ExpansionRule,
    RankedItems,
    expand,
)
from onesearch_fast.engine.filters import Filters
from onesearch_fast.engine.numbers import whole_number
from onesearch_fast.engine.search_batch import SearchBatch
from onesearch_fast.engine.statistics import GenerateStats
from onesearch_fast.index.live_store import Snapshot


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
        perturbed: [batch, beam] float32, what stochastic beams are ordered by; None without noise.
    """

    codes: torch.Tensor
    scores: torch.Tensor
    rank: torch.Tensor
    count: torch.Tensor
    levels_scored: torch.Tensor
    weight_version: int
    stats: GenerateStats
    perturbed: torch.Tensor | None
    _best_dropped: torch.Tensor | None = field(repr=False)
    _catalogues: Catalogues = field(repr=False)
    _filters: Filters = field(repr=False)

    @classmethod
    def make(
        cls,
        beams: Beams,
        batch: SearchBatch,
        weight_version: int,
        stats: GenerateStats,
        certifiable: bool,
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
            beams.perturbed,
            beams.best_dropped if certifiable else None,
            batch.catalogues,
            batch.filters,
        )

    @property
    def complete(self) -> torch.Tensor:
        """bool [batch]: False where a deadline cut the search short."""
        return self.levels_scored == self.codes.shape[2]

    @property
    def dead(self) -> torch.Tensor:
        """bool [batch]: True where there are SIDs to find, and the model's logits, which are no
        numbers, let none be found.
        """
        if bool((self.count > 0).all()):
            return torch.zeros_like(self.complete)
        return (self.count == 0) & ~self._are_all() & self.complete

    def certified(self, k: int) -> torch.Tensor | None:
        """bool [batch]: whether the first `k` SIDs are proven to be the best of all.

        Scores only fall from level to level, so they are where every one of them is above the best
        score that any level dropped; with fewer than `k`, where there are no others. A beam that is
        lost to logits that are no numbers counts with its own score, which nothing below it could
        surpass. True proves; False proves nothing.
        None where there is no such bound: normalizer "none", node priors, noise, an unconstrained
        search.

        Cost: linear in `k`; where fewer are found, that of `ItemFilter.num_allowed_sids`.
        """
        most = whole_number("GenerateResult.certified", "k", k, 1)
        if self._best_dropped is None:
            return None
        first, rest = self.scores[:, :most], self.scores[:, most:]
        last = first.amin(1)
        if first.shape[1] < most:
            last = torch.full_like(last, -torch.inf)
        proven = (self._best_dropped < last) | (self._best_dropped == -torch.inf)
        if rest.shape[1]:
            # With a sibling penalty beams do not stand in the order of their scores.
            proven &= rest.amax(1) <= last
        if bool((self.count < most).any()):
            proven &= (self.count >= most) | self._are_all()
        return proven & self.complete

    def _are_all(self) -> torch.Tensor:
        """bool [batch]: whether there are no SIDs but those found, for a filter to let through."""
        members = self._catalogues.per_request(len(self.count))
        filters = self._filters or [None] * len(members)
        there_are = [
            catalogue.num_sids if one is None else one.num_allowed_sids
            for catalogue, one in zip(members, filters, strict=True)
        ]
        return self.count == torch.tensor(there_are, device=self.count.device)

    @property
    def versions(self) -> tuple[int | None, ...]:
        """Per request, the version of the `Snapshot` that was searched; None for a `SidTrie`."""
        members = self._catalogues.per_request(len(self.count))
        return tuple(one.version if isinstance(one, Snapshot) else None for one in members)

    @property
    def version(self) -> int | None:
        """That of all requests; None for a `SidTrie`, and where they searched several."""
        versions = set(self.versions)
        return versions.pop() if len(versions) == 1 else None

    def item_ids(self, k: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The first `k` items of each request: beams in order, each SID's items best prior first.

        Items that a filter of the search refuses are left out, also where they share an SID with
        allowed ones. `k` is at most 1,000,000.

        Returns:
            (item_ids, counts): int64 [batch, k] padded with -1, and int64 [batch]. Fewer than `k`
            when the beams hold fewer.
        """
        found = self.ranked_items(whole_number("GenerateResult.item_ids", "k", k, 1, MAX_ITEMS))
        device = self.rank.device
        return (
            torch.from_numpy(found.item_ids).to(device),
            torch.from_numpy(found.count).to(device),
        )

    def ranked_items(self, k: int, rule: ExpansionRule = ALL_ITEMS) -> RankedItems:
        """`item_ids` by a rule of choice, and the beam of each item."""
        rank, scores = self.rank.cpu().numpy(), self.scores.cpu().numpy()
        return expand(self._catalogues, self._filters, rank, scores, k, rule)
