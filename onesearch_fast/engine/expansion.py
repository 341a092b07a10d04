"""From ranked SIDs to ranked items."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from onesearch_fast.engine.catalogues import Catalogues
from onesearch_fast.engine.filters import Filters, items_allowed

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
# Whether something holds of each of some items, by their ids.
ItemTest = Callable[[Ints], Bools]
Floats = npt.NDArray[np.float32]

# Of one answer, whose table has as many columns as were asked for, however few items there are.
MAX_ITEMS = 1_000_000


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
    order (best prior first); at most `items_per_sid` of each. With `counts`, all items of a request
    then stand by their own likelihood, where n counts what was taken of an item:

        log p(item) = log p(SID) + log (1 + n) - log sum over the SID's items of (1 + n)

    so that the rarer items of a likely SID do not stand before the best of the next one.

    Attributes:
        items_per_sid: most items of one SID; None for all.
        last: those of which it holds come after the others of their SID.
        dropped: those of which it holds are left out.
        removed: [batch, any] item ids to leave out of each request, padded with -1.
        counts: float32 by item id, at least 0: how often it was taken; 0 for ids past its end. An
            item of `last` is as likely as the least likely one of its SID.
    """

    items_per_sid: int | None = None
    last: ItemTest | None = None
    dropped: ItemTest | None = None
    removed: Ints | None = None
    counts: Floats | None = None


ALL_ITEMS = ExpansionRule()


def expand(
    catalogues: Catalogues,
    filters: Filters,
    rank: Ints,
    scores: Floats,
    k: int,
    rule: ExpansionRule,
) -> RankedItems:
    """The first `k` items of each request's SIDs that its filter lets through.

    Args:
        rank: [batch, beam], -1 for no SID.
        scores: [batch, beam], log p(SID).

    Cost: linear in the items below the given ranks, a sort of them with `counts`; no Python work
    per beam.
    """
    batch, beams = rank.shape
    ids, begin = catalogues.items(rank)
    row = np.repeat(np.arange(batch * beams), np.diff(begin))
    likelihood = None if rule.counts is None else _likelihood(row, ids, scores.reshape(-1), rule)
    allowed = items_allowed(filters, row // beams, ids)
    chosen = np.arange(len(ids))
    if rule.last is not None:
        # Stable in both keys, so each half keeps the catalogue's order.
        chosen = np.lexsort((rule.last(ids), row))
    chosen = chosen[_kept(row // beams, ids, allowed, rule)[chosen]]
    if rule.items_per_sid is not None:
        chosen = chosen[_index_within(row[chosen], batch * beams) < rule.items_per_sid]
    if likelihood is not None:
        chosen = chosen[np.lexsort((-likelihood[chosen], row[chosen] // beams))]
    row, ids = row[chosen], ids[chosen]
    index = _index_within(row // beams, batch)
    row, ids, index = (column[index < k] for column in (row, ids, index))
    item_ids = np.full((batch, k), -1, dtype=np.int64)
    beam = np.full((batch, k), -1, dtype=np.int64)
    item_ids[row // beams, index] = ids
    beam[row // beams, index] = row % beams
    return RankedItems(item_ids, beam, np.bincount(row // beams, minlength=batch))


def _likelihood(
    row: Ints, ids: Ints, scores: Floats, rule: ExpansionRule
) -> npt.NDArray[np.float64]:
    """log p(item) of all items below the SIDs, whether or not they will be listed."""
    assert rule.counts is not None
    counts = np.where(ids < len(rule.counts), np.take(rule.counts, ids, mode="clip"), 0.0)
    log_share = np.log1p(counts) - np.log(np.bincount(row, 1.0 + counts)[row])
    if rule.last is not None:
        least = np.zeros(len(scores))
        np.minimum.at(least, row, log_share)
        log_share = np.where(rule.last(ids), least[row], log_share)
    likelihood: npt.NDArray[np.float64] = scores[row] + log_share
    return likelihood


def _kept(request: Ints, ids: Ints, allowed: Bools | None, rule: ExpansionRule) -> Bools:
    kept = np.ones(len(ids), dtype=np.bool_) if allowed is None else allowed
    if rule.dropped is not None:
        kept = kept & ~rule.dropped(ids)
    if rule.removed is not None:
        kept = kept & ~_among(request, ids, rule.removed)
    return kept


def items_of(mask: Bools) -> ItemTest:
    """The test by a mask; of ids past its end, of items that a live store took in, it is False."""
    return partial(_looked_up, mask)


def _looked_up(mask: Bools, ids: Ints) -> Bools:
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
