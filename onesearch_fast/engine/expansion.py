"""From ranked SIDs to ranked items."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from onesearch_fast.engine.catalogues import Catalogues
from onesearch_fast.engine.filters import Filters, items_allowed

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


@dataclass(frozen=True)
class ExpansionRule:
    """Which items of its SIDs an answer lists, and in which order.

    SIDs in beam order; within one, the items that `last` does not name first, then the catalogue's
    order (best prior first); at most `items_per_sid` of each.

    Attributes:
        items_per_sid: most items of one SID; None for all.
        last: bool by item id: these come after the others of their SID. Ids past its end, of items
            that a live store has since taken in, do not.
        dropped: likewise: these are left out.
        removed: [batch, any] item ids to leave out of each request, padded with -1.
    """

    items_per_sid: int | None = None
    last: Bools | None = None
    dropped: Bools | None = None
    removed: Ints | None = None


ALL_ITEMS = ExpansionRule()


def expand(
    catalogues: Catalogues, filters: Filters, rank: Ints, k: int, rule: ExpansionRule
) -> RankedItems:
    """The first `k` items of each request's SIDs that its filter lets through.

    Args:
        rank: [batch, beam], -1 for no SID.

    Cost: linear in the items below the given ranks; no Python work per beam.
    """
    batch, beams = rank.shape
    ids, begin = catalogues.items(rank)
    row = np.repeat(np.arange(batch * beams), np.diff(begin))
    allowed = items_allowed(filters, row // beams, ids)
    if rule.last is not None:
        # Stable in both keys, so each half keeps the catalogue's order.
        order = np.lexsort((_named(rule.last, ids), row))
        row, ids = row[order], ids[order]
        allowed = None if allowed is None else allowed[order]
    kept = _kept(row // beams, ids, allowed, rule)
    row, ids = row[kept], ids[kept]
    if rule.items_per_sid is not None:
        within = _index_within(row, batch * beams) < rule.items_per_sid
        row, ids = row[within], ids[within]
    index = _index_within(row // beams, batch)
    row, ids, index = (column[index < k] for column in (row, ids, index))
    item_ids = np.full((batch, k), -1, dtype=np.int64)
    beam = np.full((batch, k), -1, dtype=np.int64)
    item_ids[row // beams, index] = ids
    beam[row // beams, index] = row % beams
    return RankedItems(item_ids, beam, np.bincount(row // beams, minlength=batch))


def _kept(request: Ints, ids: Ints, allowed: Bools | None, rule: ExpansionRule) -> Bools:
    kept = np.ones(len(ids), dtype=np.bool_) if allowed is None else allowed
    if rule.dropped is not None:
        kept = kept & ~_named(rule.dropped, ids)
    if rule.removed is not None:
        kept = kept & ~_among(request, ids, rule.removed)
    return kept


def _named(mask: Bools, ids: Ints) -> Bools:
    """mask[ids], False past its end."""
    named: Bools = np.take(mask, ids, mode="clip") & (ids < len(mask))
    return named


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
