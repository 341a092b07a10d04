"""Items in the order in which a walk down the tree of SID prefixes meets them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from onesearch_fast.errors import invalid

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float32]


class PrefixRanking:
    """Ranks items by what their SIDs alone say about a vector: the best a prefix tree can do.

    A node of the tree is a prefix in use and stands for the mean vector of its items. The walk
    enters the child that shares the asker's next code first, then the others by the distance of
    their mean to the asker's vector; the items of one SID come in a seeded random order. It knows
    the codes and the items' vectors, so that any quantiser can be compared with any other.
    """

    def __init__(self, codes: npt.ArrayLike, embeddings: FloatArray, seed: int = 0) -> None:
        """codes [num_items, num_levels], embeddings [num_items, dim]. Cost: a sort of the items."""
        rows = np.asarray(codes)
        if rows.ndim != 2 or rows.size == 0 or len(rows) != len(embeddings):
            expected = f"shape [num_items, num_levels], {len(embeddings)} rows as embeddings"
            raise invalid("PrefixRanking", "codes", expected, f"shape {list(rows.shape)}")
        chance = np.random.default_rng(seed).permutation(len(rows))
        self._order = np.lexsort((chance, *rows.T[::-1]))
        self._codes = np.ascontiguousarray(rows[self._order].T)
        self._embeddings = embeddings
        self._root = self._children(0, len(rows), 0)

    def top(self, vectors: FloatArray, codes: npt.ArrayLike, k: int) -> IntArray:
        """The first k items for each of n askers, int64 [n, k], -1 past the last item.

        vectors [n, dim], codes [n, num_levels]. Cost: n x (level_sizes[0] x dim) and what lies
        around the own path.
        """
        ranked = np.full((len(vectors), k), -1, np.int64)
        for row, (vector, own) in enumerate(zip(vectors, np.asarray(codes), strict=True)):
            found = self._walk(vector, own, 0, len(self._order), 0, k)
            ranked[row, : len(found)] = found
        return ranked

    def sharing(self, codes: npt.ArrayLike) -> IntArray:
        """Items that share the first 1, 2, ... codes: codes [n, num_levels] -> the same shape."""
        asked = np.asarray(codes)
        counts = np.zeros(asked.shape, np.int64)
        for row, own in enumerate(asked):
            begin, end = 0, len(self._order)
            for level, code in enumerate(own):
                column = self._codes[level, begin:end]
                begin, end = begin + np.searchsorted(column, (code, code + 1))
                counts[row, level] = end - begin
        return counts

    def _walk(
        self, vector: FloatArray, own: IntArray | None, begin: int, end: int, level: int, room: int
    ) -> list[int]:
        if level == len(self._codes) or end - begin == 1:
            return [int(row) for row in self._order[begin : min(end, begin + room)]]
        edges, means = self._root if level == 0 else self._children(begin, end, level)
        distances = np.square(means - vector).sum(axis=1)
        if own is not None:
            # Below any distance, which also marks the child for the walk further down.
            distances[self._codes[level, edges[:-1]] == own[level]] = -1.0
        found: list[int] = []
        for child in np.argsort(distances, kind="stable"):
            on_path = own if distances[child] < 0 else None
            inside = int(edges[child]), int(edges[child + 1])
            found += self._walk(vector, on_path, *inside, level + 1, room - len(found))
            if len(found) == room:
                break
        return found

    def _children(self, begin: int, end: int, level: int) -> tuple[IntArray, FloatArray]:
        """Where the children begin, with the end, [c + 1], and their mean vectors [c, dim]."""
        column = self._codes[level, begin:end]
        inner = begin + 1 + np.flatnonzero(column[1:] != column[:-1])
        edges = np.concatenate([[begin], inner, [end]])
        rows = self._embeddings[self._order[begin:end]]
        sums = np.add.reduceat(rows, edges[:-1] - begin, axis=0)
        means: FloatArray = (sums / np.diff(edges)[:, None]).astype(np.float32)
        return edges, means
