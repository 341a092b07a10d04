"""What takes how many bytes in a trie."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class SectionBytes:
    """Bytes of the sections of a trie, each with the padding behind it; see trie_file_format.md.

    Attributes:
        header: the header and the section table.
        children: per level 0 to num_levels - 1, where each node's children begin.
        tokens: per level 0 to num_levels - 1, the tokens on the edges out of it.
        items: per level 0 to num_levels, where each node's items begin; 0 where it is not stored.
        item_ids: 0 when they are row numbers.
        item_rows: the row of `build`'s input for each item.
        items_by_id: the items in order of their ids.
        item_scores: 0 unless kept.
    """

    header: int
    children: tuple[int, ...]
    tokens: tuple[int, ...]
    items: tuple[int, ...]
    item_ids: int
    item_rows: int
    items_by_id: int
    item_scores: int

    @property
    def total(self) -> int:
        """All of them: the bytes of the index in memory and as a file."""
        by_level = sum(self.children) + sum(self.tokens) + sum(self.items)
        items = self.item_ids + self.item_rows + self.items_by_id + self.item_scores
        return self.header + by_level + items

    @classmethod
    def of(
        cls, sections: Iterable[tuple[int, int, int]], num_levels: int, nbytes: int
    ) -> SectionBytes:
        """From the native core's list of (kind, level, offset), in the order of the file."""
        table = list(sections)
        ends = [offset for _, _, offset in table] + [nbytes]
        sizes = {
            (kind, level): end - begin
            for (kind, level, _), (begin, end) in zip(table, pairwise(ends), strict=True)
        }

        def of_kinds(level: int, *kinds: int) -> int:
            return sum(sizes.get((kind, level), 0) for kind in kinds)

        return cls(
            header=ends[0],
            children=tuple(of_kinds(level, 1, 2) for level in range(num_levels)),
            tokens=tuple(of_kinds(level, 3) for level in range(num_levels)),
            items=tuple(of_kinds(level, 4, 5) for level in range(num_levels + 1)),
            item_ids=of_kinds(0, 6),
            item_rows=of_kinds(0, 7),
            items_by_id=of_kinds(0, 8),
            item_scores=of_kinds(0, 9),
        )
