"""Filters as callers give them: none, one for all requests, or one for each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from onesearch_fast.errors import invalid
from onesearch_fast.index.item_filter import ItemFilter

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


def allowed_items(filters: Filters) -> npt.NDArray[np.bool_] | None:
    """bool over items in rank order for all requests, or [batch, num_items] where they differ."""
    if filters is None or all(one is None for one in filters):
        return None
    first = filters[0]
    if first is not None and all(one is first for one in filters):
        return first.item_allowed()
    num_items = next(one.trie.num_items for one in filters if one is not None)
    rows = np.ones((len(filters), num_items), dtype=np.bool_)
    for row, one in zip(rows, filters, strict=True):
        if one is not None:
            row[:] = one.item_allowed()
    return rows
