"""How relevant an item is to a query, in four tiers."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from onesearch_fast.data.keyword_mining import mine_keywords
from onesearch_fast.data.records import item_text
from onesearch_fast.data.split import TrainLog

IRRELEVANT, MISMATCH, RELATED, EXCELLENT = 0, 1, 2, 3


class RelevanceModel(Protocol):
    """Judges any item of the catalogue, whether it was ever seen with the query or not."""

    def tiers(self, query: str, rows: Sequence[int]) -> npt.NDArray[np.int64]:
        """0 irrelevant, 1 mismatch, 2 related, 3 excellent: int64 [num_rows]."""
        ...


class CategoryRelevance:
    """3: the query's category and all keywords of the query; 2: the category; 1: its department.

    The category of a query is the one clicked most for it, ties to the smaller path. A keyword that
    most of a query's clicks do without is not asked for: queries also say what is not wanted. A
    query that nobody asked is judged by its keywords alone: 3 with all of them, 2 with one.
    """

    def __init__(self, log: TrainLog) -> None:
        self._dictionary = mine_keywords(log)
        self._items = [frozenset(self._dictionary.match_indices(item_text(i))) for i in log.items]
        self._paths = [item.category for item in log.items]
        clicked: defaultdict[str, list[int]] = defaultdict(list)
        for history in log.histories:
            for event in history.events:
                if event.query is not None:
                    clicked[event.query].append(event.row)
        self._category = {query: self._most_clicked(rows) for query, rows in clicked.items()}
        self._asked = {query: self._asked_for(query, rows) for query, rows in clicked.items()}

    def tiers(self, query: str, rows: Sequence[int]) -> npt.NDArray[np.int64]:
        asked = self._asked.get(query)
        if asked is None:
            asked = self._asked_for(query, ())
        path = self._category.get(query)
        return np.array([self._tier(asked, path, row) for row in rows], dtype=np.int64)

    def _most_clicked(self, rows: Sequence[int]) -> tuple[str, ...] | None:
        paths = Counter(self._paths[row] for row in rows if self._paths[row])
        return min(paths, key=lambda path: (-paths[path], path), default=None)

    def _asked_for(self, query: str, clicked: Sequence[int]) -> frozenset[int]:
        words = self._dictionary.match_indices(query)
        having = Counter(word for row in clicked for word in self._items[row].intersection(words))
        return frozenset(word for word in words if 2 * having[word] >= len(clicked))

    def _tier(self, asked: frozenset[int], path: tuple[str, ...] | None, row: int) -> int:
        shared = asked & self._items[row]
        if path is None:
            return EXCELLENT if asked and shared == asked else RELATED if shared else IRRELEVANT
        if self._paths[row] == path:
            return EXCELLENT if shared == asked else RELATED
        return MISMATCH if self._paths[row][:1] == path[:1] else IRRELEVANT
