"""From ranked SIDs to ranked items."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from onesearch_fast.index.sid_trie import SidTrie

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class RankedItems:
    """Items of each request, best first; entries at or past `count` are -1.

    Attributes:
        item_ids: [batch, k] int64.
        beam: [batch, k] int64, the beam that each item came from.
        count: [batch] int64.
    """

    item_ids: Ints
    beam: Ints
    count: Ints


class ItemsByRank:
    """All items of a trie in rank order: those of rank r are ids[begin[r]:begin[r + 1]]."""

    def __init__(self, trie: SidTrie) -> None:
        self.ids, self.begin = trie.items(np.arange(trie.num_sids))

    def expand(
        self,
        rank: Ints,
        k: int,
        items_per_sid: int | None = None,
        allowed: Bools | None = None,
        last: Bools | None = None,
        dropped: Bools | None = None,
        removed: Ints | None = None,
    ) -> RankedItems:
        """The first `k` items of each request: SIDs in beam order, within an SID the trie's order.

        Args:
            rank: [batch, beam], -1 for no SID.
            k: items per request.
            items_per_sid: at most so many of each SID; None for all.
            allowed: bool over items in rank order, or one row per request [batch, num_items];
                what is False is left out.
            last: bool over items in rank order: these come after the others of their SID.
            dropped: bool over items in rank order: these are left out.
            removed: [batch, any] item ids to leave out of each request, padded with -1.

        Cost: linear in the items below the given ranks; no Python work per beam.
        """
        batch, beams = rank.shape
        row, place = self._places(rank.reshape(-1))
        if last is not None:
            order = np.lexsort((place, last[place], row))
            row, place = row[order], place[order]
        kept = self._kept(row // beams, place, allowed, removed)
        if dropped is not None:
            kept &= ~dropped[place]
        row, place = row[kept], place[kept]
        if items_per_sid is not None:
            within = _index_within(row, batch * beams) < items_per_sid
            row, place = row[within], place[within]
        index = _index_within(row // beams, batch)
        row, place, index = (column[index < k] for column in (row, place, index))
        item_ids = np.full((batch, k), -1, dtype=np.int64)
        beam = np.full((batch, k), -1, dtype=np.int64)
        item_ids[row // beams, index] = self.ids[place]
        beam[row // beams, index] = row % beams
        return RankedItems(item_ids, beam, np.bincount(row // beams, minlength=batch))

    def _places(self, rank: Ints) -> tuple[Ints, Ints]:
        """For every item below the ranks: which of the ranks, and its place in rank order."""
        begin = np.where(rank < 0, 0, self.begin[rank])
        count = np.where(rank < 0, 0, self.begin[rank + 1] - begin)
        row = np.repeat(np.arange(len(rank)), count)
        return row, np.repeat(begin, count) + _index_within(row, len(rank))

    def _kept(
        self, request: Ints, place: Ints, allowed: Bools | None, removed: Ints | None
    ) -> Bools:
        kept = np.ones(len(place), dtype=np.bool_)
        if allowed is not None:
            kept &= allowed[place] if allowed.ndim == 1 else allowed[request, place]
        if removed is not None:
            kept &= ~_among(request, self.ids[place], removed)
        return kept


def _among(request: Ints, ids: Ints, rows: Ints) -> Bools:
    """Whether ids[i] is in rows[request[i]]; memory grows with the sum of the two, not the product.

    A user may have a past of any length.
    """
    names, number = np.unique(np.concatenate((ids, rows.reshape(-1))), return_inverse=True)
    owner = np.concatenate((request, np.repeat(np.arange(len(rows)), rows.shape[1])))
    keys = owner * len(names) + number
    return np.isin(keys[: len(ids)], keys[len(ids) :])


def _index_within(group: Ints, num_groups: int) -> Ints:
    """0, 1, 2, ... within each run of equal, ascending groups."""
    count = np.bincount(group, minlength=num_groups)
    return np.arange(len(group)) - np.repeat(np.cumsum(count) - count, count)
