"""Moves rows between codes along cheapest paths until no code holds too many: slow, and sure."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from onesearch_fast.sid.nearest import IntArray, Prices

Costs = Callable[[npt.NDArray[np.intp]], npt.NDArray[np.float64]]

# Rows whose costs are held at a time.
_BLOCK_ROWS = 1 << 13
# What codes without rows cost more, in parts of the range of prices: no row may tie with them.
_UNUSED = 1e-3


class Transport:
    """The cheapest assignment of rows to codes of limited capacity, and prices that give it.

    Successive shortest paths (Ahuja, Magnanti, Orlin 1993, section 9.7): codes are the nodes, and
    an edge a -> b is as long as the least that moving a row from a to b costs. `costs(rows)` gives
    [rows, k]; `codes` [n] is the cheapest code of every row under `prices` [k].

    Cost: for each row too many, k^2 operations and the costs of the rows of the codes on its path.
    """

    def __init__(self, costs: Costs, codes: IntArray, prices: Prices) -> None:
        self._costs = costs
        self.prices = prices.copy()
        self.codes = codes.copy()
        self._sizes = np.bincount(codes, minlength=len(prices))
        self._lengths = np.empty((len(prices), len(prices)))
        self._movers = np.empty(self._lengths.shape, np.intp)
        for code in range(len(prices)):
            self._measure(code)

    def limit_sizes(self, limit: int) -> None:
        """Moves rows until no code holds more than `limit`, n/k or more."""
        while self._sizes.max() > limit:
            path = self._cheapest_path(int(self._sizes.argmax()), limit)
            for begin, end in pairwise(path):
                self.codes[self._movers[begin, end]] = end
            self._sizes[path[0]] -= 1
            self._sizes[path[-1]] += 1
            for code in path:
                self._measure(code)

    def parting_prices(self) -> Prices:
        """Prices under which every row strictly prefers its code, where there are such.

        For each code in use, its distances to all are prices under which no row prefers another
        code; their mean leaves a tie only where all of them do.
        """
        used = np.flatnonzero(self._sizes)
        distances = self._reduced()
        for code in used:
            through = distances[:, code, None] + distances[code]
            np.minimum(distances, through, out=distances)
        prices: Prices = self.prices - distances[used].mean(axis=0)
        prices[self._sizes == 0] += _UNUSED * np.ptp(prices)
        prices -= prices.min()
        return prices

    def _reduced(self) -> npt.NDArray[np.float64]:
        """Lengths with prices paid: none below 0 but for rounding."""
        lengths: npt.NDArray[np.float64] = self._lengths + self.prices - self.prices[:, None]
        lengths[lengths < 0] = 0.0
        return lengths

    def _measure(self, code: int) -> None:
        """The edges out of `code`: infinite where it holds no row."""
        lengths = np.full(len(self.prices), np.inf)
        movers = np.zeros(len(self.prices), np.intp)
        members = np.flatnonzero(self.codes == code)
        for begin in range(0, len(members), _BLOCK_ROWS):
            rows = members[begin : begin + _BLOCK_ROWS]
            gaps = self._costs(rows)
            gaps -= gaps[:, code, None].copy()
            least = gaps.argmin(axis=0)
            shorter = gaps.min(axis=0) < lengths
            lengths[shorter] = gaps[least, np.arange(len(least))][shorter]
            movers[shorter] = rows[least][shorter]
        self._lengths[code], self._movers[code] = lengths, movers

    def _cheapest_path(self, source: int, limit: int) -> list[int]:
        """From `source` to the nearest code with room (Dijkstra 1959); prices follow it."""
        edges = self._reduced()
        distances = edges[source]
        distances[source] = 0.0
        before = np.full(len(distances), source)
        open_distances = np.where(np.arange(len(distances)) == source, np.inf, distances)
        while self._sizes[nearest := int(open_distances.argmin())] >= limit:
            through = distances[nearest] + edges[nearest]
            better = through < open_distances
            better &= np.isfinite(open_distances)
            open_distances[better] = distances[better] = through[better]
            before[better] = nearest
            open_distances[nearest] = np.inf
        self.prices += np.maximum(distances[nearest] - distances, 0.0)
        path = [nearest]
        while path[-1] != source:
            path.append(int(before[path[-1]]))
        return path[::-1]


def gather(codes: IntArray, groups: npt.NDArray[np.intp]) -> IntArray:
    """Gives each group of rows [n], numbered from 0, one of the codes that hold some of it.

    Of a cheapest assignment, divided groups and their codes are a forest. From each root on, a
    group goes to a code below it, so no code gains more than one group, less a row.
    """
    held = np.unique(np.stack([groups, codes], axis=1), axis=0)
    chosen = np.empty(int(groups.max()) + 1, np.int32)
    chosen[held[:, 0]] = held[:, 1]
    codes_of: dict[int, list[int]] = {}
    groups_at: dict[int, list[int]] = {}
    divided = np.bincount(held[:, 0])[held[:, 0]] > 1
    for group, code in held[divided].tolist():
        codes_of.setdefault(group, []).append(code)
        groups_at.setdefault(code, []).append(group)
    seen: set[int] = set()
    for root in groups_at:
        stack = [] if root in seen else [root]
        seen.add(root)
        while stack:
            code = stack.pop()
            for group in groups_at[code]:
                below = [c for c in codes_of.pop(group, []) if c not in seen]
                chosen[group] = below[0] if below else chosen[group]
                seen.update(below)
                stack += below
    return chosen[groups]
