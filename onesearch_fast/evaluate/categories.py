"""Which items a category path holds, and which path a query means."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from onesearch_fast.data.records import Item, category_text
from onesearch_fast.data.split import TrainLog

Path = tuple[str, ...]

# How many of the lexical ranker's first hits vote for the category of an unknown query.
NUM_VOTES = 10


def normalise_query(query: str) -> str:
    """Case-folded, runs of white space as one blank: equal results are the same query text."""
    return " ".join(query.casefold().split())


class CategoryTable:
    """The category paths of a catalogue. A path holds the items on it and those on longer paths."""

    def __init__(self, items: Sequence[Item]) -> None:
        self.paths: tuple[Path, ...] = tuple(item.category for item in items)
        known = sorted({path[:depth] for path in self.paths for depth in range(1, len(path) + 1)})
        self._ids = {path: number for number, path in enumerate(known)}
        self._by_text = {normalise_query(category_text(path)): path for path in known}
        depth = max((len(path) for path in self.paths), default=0)
        self._prefixes = np.full((depth, len(items)), -1, dtype=np.int32)
        self._leaf = np.full(len(items), -1, dtype=np.int32)
        for row, path in enumerate(self.paths):
            for level in range(len(path)):
                self._prefixes[level, row] = self._ids[path[: level + 1]]
            self._leaf[row] = self._ids.get(path, -1)

    def named_by(self, query: str) -> Path | None:
        """The path that the query spells out as "A > B > C", if any."""
        return self._by_text.get(normalise_query(query))

    def tiers(self, path: Path | None) -> npt.NDArray[np.uint8]:
        """uint8 [num_items]: 2 = on the path itself, 1 = on a longer one, 0 = elsewhere."""
        if not path:
            return np.zeros(len(self.paths), dtype=np.uint8)
        number = self._ids[path]
        inside = self._prefixes[len(path) - 1] == number
        return np.asarray(inside.astype(np.uint8) + (self._leaf == number), dtype=np.uint8)


class QueryCategories:
    """The category a query means: the first of three rules that gives an answer.

    1. The query is itself a category path of the catalogue, written "A > B > C".
    2. The path whose items were clicked most after exactly this query text in the `TrainLog`.
    3. The path most frequent among the first hits of a lexical ranker.

    Equally frequent paths: the one met first (rule 3: of the better hit) in a fixed order.

    Args:
        first_hits: queries -> for each, item rows of its first hits, best first; may be empty.
    """

    def __init__(
        self,
        log: TrainLog,
        table: CategoryTable,
        first_hits: Callable[[Sequence[str]], Sequence[Sequence[int]]],
    ) -> None:
        self._table = table
        self._first_hits = first_hits
        clicks: dict[str, Counter[Path]] = defaultdict(Counter)
        for history in log.histories:
            for event in history.events:
                if event.query is not None and table.paths[event.row]:
                    clicks[normalise_query(event.query)][table.paths[event.row]] += 1
        self._clicked = {
            query: min(paths, key=lambda path: (-paths[path], path))
            for query, paths in clicks.items()
        }

    def resolve(self, queries: Sequence[str]) -> dict[str, Path | None]:
        """The path of each distinct query, None when no rule answers."""
        distinct = list(dict.fromkeys(queries))
        found: dict[str, Path | None] = {}
        for query in distinct:
            named = self._table.named_by(query)
            found[query] = named or self._clicked.get(normalise_query(query))
        unknown = [query for query in distinct if found[query] is None]
        for query, hits in zip(unknown, self._first_hits(unknown), strict=True):
            found[query] = self._vote(hits)
        return found

    def _vote(self, hits: Sequence[int]) -> Path | None:
        votes = Counter(self._table.paths[row] for row in hits if self._table.paths[row])
        return votes.most_common(1)[0][0] if votes else None
