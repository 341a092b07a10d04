"""Filters as callers give them: none, one for all requests, or one for each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from onesearch_fast.engine.catalogues import Catalogue, Catalogues
from onesearch_fast.errors import invalid
from onesearch_fast.index.expressions import AllOf, Condition, Expression, condition_of
from onesearch_fast.index.filter_cache import FilterCache
from onesearch_fast.index.item_columns import ItemColumns
from onesearch_fast.index.item_filter import ItemFilter
from onesearch_fast.index.sid_trie import SidTrie

# One filter as callers give it: made, or a condition on attributes, or one as text.
FilterLike = ItemFilter | Condition | str
# What callers may pass: one for all requests, or one (or None) per request.
FilterArgument = FilterLike | Sequence[FilterLike | None] | None
# Its one form inside.
Filters = Sequence[ItemFilter | None] | None

# Filters made of expressions are kept up to so many bytes.
CACHE_BYTES = 64 << 20


def one_per_request(where: str, filter: FilterArgument, batch: int) -> list[FilterLike | None]:
    """A list with one filter (or None) per request."""
    if filter is None or isinstance(filter, FilterLike):
        return [filter] * batch
    if not isinstance(filter, Sequence):
        expected = "an ItemFilter, a condition or its text, or a sequence"
        remedy = 'make it with trie.filter, or as osf.col("price") < 5'
        raise invalid(where, "filter", expected, type(filter), remedy, TypeError)
    filters = list(filter)
    if len(filters) != batch:
        expected = f"one, or one per request ({batch})"
        raise invalid(where, "filter", expected, f"{len(filters)} filters")
    return filters


class FilterMaker:
    """Makes filters of conditions for the catalogues that are searched, each once."""

    def __init__(self, columns: ItemColumns | None) -> None:
        self._columns = columns
        self._cache = FilterCache(CACHE_BYTES)

    def per_request(
        self, where: str, filter: FilterArgument, catalogues: Catalogues, batch: int
    ) -> Filters:
        """The filter of each request; None where nothing is filtered."""
        given = one_per_request(where, filter, batch)
        if all(one is None for one in given):
            return None
        return self.make_each(given, catalogues.per_request(batch))

    def make_each(
        self, filters: Sequence[FilterLike | None], catalogues: Sequence[Catalogue]
    ) -> list[ItemFilter | None]:
        """The filter of each request; a condition that several share is one object in them."""
        made: dict[tuple[str | int, int], ItemFilter | None] = {}
        keys = []
        for one, catalogue in zip(filters, catalogues, strict=True):
            key = (one if isinstance(one, str) else id(one), id(catalogue))
            if key not in made:
                made[key] = self.make(one, catalogue)
            keys.append(key)
        return [made[key] for key in keys]

    def make(self, filter: FilterLike | None, catalogue: Catalogue) -> ItemFilter | None:
        """The filter of one catalogue; one that is made already stays as it is."""
        if filter is None or isinstance(filter, ItemFilter):
            return filter
        columns = self._columns if isinstance(catalogue, SidTrie) else None
        return self._cache.filter(catalogue, where=filter, columns=columns)

    def parts(
        self, filter: FilterLike | None, catalogue: Catalogue
    ) -> list[tuple[str, ItemFilter]]:
        """The conditions that must all hold, as text, each with its filter; none of a made one."""
        if filter is None or isinstance(filter, ItemFilter):
            return []
        conditions = _conjuncts(condition_of(filter))
        made = ((str(one), self.make(one, catalogue)) for one in conditions)
        return [(text, one) for text, one in made if one is not None]


def _conjuncts(expression: Expression) -> list[Expression]:
    if not isinstance(expression, AllOf):
        return [expression]
    return [one for part in expression.parts for one in _conjuncts(part)]


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
