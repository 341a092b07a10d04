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


def items_allowed(
    filters: Filters, request: npt.NDArray[np.int64], item_ids: npt.NDArray[np.int64]
) -> npt.NDArray[np.bool_] | None:
    """Whether item_ids[i] is let through for request[i] (ascending); None where all are."""
    if filters is None or all(one is None for one in filters):
        return None
    first = filters[0]
    if first is not None and all(one is first for one in filters):
        return first.contains(item_ids)
    begin = np.searchsorted(request, np.arange(len(filters) + 1))
    allowed = np.ones(len(item_ids), dtype=np.bool_)
    for row, one in enumerate(filters):
        if one is not None:
            part = slice(begin[row], begin[row + 1])
            allowed[part] = one.contains(item_ids[part])
    return allowed
