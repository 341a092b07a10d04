"""Filters as callers give them: none, one for all requests, or one for each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from onesearch_fast.engine.catalogues import Catalogues
from onesearch_fast.errors import invalid
from onesearch_fast.index.item_filter import ItemFilter
from onesearch_fast.index.sid_trie import SidTrie

# What callers may pass, and its one form inside.
FilterArgument = ItemFilter | Sequence[ItemFilter | None] | None
Filters = Sequence[ItemFilter | None] | None


def one_per_request(where: str, filter: FilterArgument, batch: int) -> Filters:
    """A list with one filter (or None) per request, or None when nothing is filtered."""
    if filter is None:
        return None
    if not isinstance(filter, ItemFilter | Sequence):
        remedy = "make it with trie.filter"
        raise invalid(
            where, "filter", "an ItemFilter or a sequence", type(filter), remedy, TypeError
        )
    filters = [filter] * batch if isinstance(filter, ItemFilter) else list(filter)
    if len(filters) != batch:
        expected = f"one, or one per request ({batch})"
        raise invalid(where, "filter", expected, f"{len(filters)} filters")
    return filters


def items_allowed(
    filters: Filters, catalogues: Catalogues, rank: npt.NDArray[np.int64]
) -> npt.NDArray[np.bool_] | None:
    """Whether each item of `rank` [batch, beam] is let through, in the order of `SidTrie.items`."""
    if filters is None or all(one is None for one in filters):
        return None
    tries = catalogues.per_request(len(filters))
    rows = zip(filters, tries, rank, strict=True)
    return np.concatenate([_row_allowed(*row) for row in rows])


def _row_allowed(
    filter: ItemFilter | None, trie: SidTrie, rank: npt.NDArray[np.int64]
) -> npt.NDArray[np.bool_]:
    _, offsets = trie.items(rank)
    if filter is None:
        return np.ones(offsets[-1], dtype=np.bool_)
    begin = trie.items(np.arange(trie.num_sids))[1]
    counts = np.diff(offsets)
    place = np.repeat(begin[rank] - offsets[:-1], counts) + np.arange(offsets[-1])
    allowed: npt.NDArray[np.bool_] = filter.item_allowed()[place]
    return allowed
