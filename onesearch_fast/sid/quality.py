"""How good a set of semantic IDs is: use of the codes, independence of the items, evenness."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from onesearch_fast.errors import invalid

IntArray = npt.NDArray[np.int64]

# Float64 copies of all columns of a million items would take gigabytes.
_COLUMNS_AT_ONCE = 32


@dataclass(frozen=True)
class SidQuality:
    """Figures over the items of a catalogue; `prefix of length l` = the first l codes of a SID.

    cur[l-1]: distinct prefixes of length l / product of the first l level sizes (code utilisation).
    level_use[l]: distinct codes of level l in use / its size.
    gini[l-1]: Gini coefficient of items per used prefix of length l (0 = all alike).
    icr_sid: SIDs owned by exactly one item / SIDs in use.
    icr_item: items alone on their SID / items.
    collision_rate: 1 - SIDs in use / items. largest_bucket: items on the fullest SID.
    reconstruction_error[l-1]: squared error when each item's vector is replaced by the mean of its
    prefix of length l / that when replaced by the mean of all (1 = the codes say nothing, 0 = all).
    """

    num_items: int
    num_sids: int
    level_sizes: tuple[int, ...]
    cur: tuple[float, ...]
    level_use: tuple[float, ...]
    gini: tuple[float, ...]
    icr_sid: float
    icr_item: float
    collision_rate: float
    largest_bucket: int
    reconstruction_error: tuple[float, ...] | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    def as_text(self) -> str:
        """A table for a terminal."""
        errors = self.reconstruction_error
        lines = [
            f"{self.num_items:,} items on {self.num_sids:,} SIDs",
            f"  icr_item        {self.icr_item:9.4f}  items alone on their SID / items",
            f"  icr_sid         {self.icr_sid:9.4f}  SIDs of one item / SIDs",
            f"  collision_rate  {self.collision_rate:9.4f}  1 - SIDs / items",
            f"  largest bucket  {self.largest_bucket:9,}  items on one SID",
            "  level   size  in use       cur    gini" + ("   error" if errors else ""),
        ]
        for level, size in enumerate(self.level_sizes):
            row = f"  {level + 1:5} {size:6} {self.level_use[level]:7.4f} {self.cur[level]:9.3g}"
            row += f" {self.gini[level]:7.4f}"
            lines.append(row + (f" {errors[level]:7.4f}" if errors else ""))
        return "\n".join(lines)


def quality(
    codes: npt.ArrayLike, level_sizes: Sequence[int], embeddings: npt.ArrayLike | None = None
) -> SidQuality:
    """Measures codes [num_items, num_levels], integers local to each level.

    `embeddings` [num_items, dim] add the reconstruction error. Definitions: `SidQuality`. CUR and
    ICR follow OneSearch (arXiv 2509.03236); ICR stands twice because its denominator is read both
    ways. Cost: one sort of the items a level.
    """
    rows = check_codes("quality", codes, level_sizes)
    prefixes = [prefix_ids(rows[:, : level + 1]) for level in range(rows.shape[1])]
    counts = [np.bincount(ids) for ids in prefixes]
    capacity = np.cumprod(np.array(level_sizes, np.float64))
    alone = int(np.count_nonzero(counts[-1] == 1))
    used = [len(np.unique(rows[:, level])) for level in range(rows.shape[1])]
    return SidQuality(
        num_items=len(rows),
        num_sids=len(counts[-1]),
        level_sizes=tuple(int(size) for size in level_sizes),
        cur=tuple(len(count) / float(room) for count, room in zip(counts, capacity, strict=True)),
        level_use=tuple(n / int(size) for n, size in zip(used, level_sizes, strict=True)),
        gini=tuple(_gini(count) for count in counts),
        icr_sid=alone / len(counts[-1]),
        icr_item=alone / len(rows),
        collision_rate=1 - len(counts[-1]) / len(rows),
        largest_bucket=int(counts[-1].max()),
        reconstruction_error=_reconstruction_error(prefixes, len(rows), embeddings),
    )


def check_codes(where: str, codes: npt.ArrayLike, level_sizes: Sequence[int]) -> IntArray:
    """Codes as int64 [num_items >= 1, num_levels]; raises unless each is in [0, level_sizes[l])."""
    rows = np.asarray(codes)
    if not np.issubdtype(rows.dtype, np.integer):
        raise invalid(where, "codes", "integers", str(rows.dtype), kind=TypeError)
    if rows.ndim != 2 or rows.shape[1] != len(level_sizes) or rows.size == 0:
        expected = f"shape [num_items >= 1, {len(level_sizes)}]"
        raise invalid(where, "codes", expected, f"shape {list(rows.shape)}")
    bad = (rows < 0) | (rows >= np.asarray(level_sizes))
    if bad.any():
        row = int(bad.any(axis=1).argmax())
        expected = f"integers in [0, level_sizes[l]), level_sizes {tuple(level_sizes)}"
        raise invalid(where, "codes", expected, f"row {row} = {rows[row].tolist()}")
    return rows.astype(np.int64)


def prefix_ids(codes: IntArray) -> IntArray:
    """codes [n, l] -> [n]: 0, 1, ... for the distinct rows in sorted order."""
    ids = np.zeros(len(codes), np.int64)
    for level in range(codes.shape[1]):
        keys = ids * (int(codes[:, level].max()) + 1) + codes[:, level]
        ids = np.unique(keys, return_inverse=True)[1].reshape(-1)
    return ids


def _gini(counts: IntArray) -> float:
    ordered = np.sort(counts)
    ranks = np.arange(1, len(ordered) + 1)
    n = len(ordered)
    return float(2 * (ranks * ordered).sum() / (n * ordered.sum()) - (n + 1) / n)


def _reconstruction_error(
    prefixes: Sequence[IntArray], num_items: int, embeddings: npt.ArrayLike | None
) -> tuple[float, ...] | None:
    if embeddings is None:
        return None
    x = np.asarray(embeddings)
    if x.ndim != 2 or len(x) != num_items:
        expected = f"shape [{num_items}, dim], a row an item"
        raise invalid("quality", "embeddings", expected, f"shape {list(x.shape)}")
    everyone = np.zeros(num_items, np.int64)
    total = _squared_error(x, everyone)
    if total == 0.0:
        return (0.0,) * len(prefixes)
    return tuple(_squared_error(x, ids) / total for ids in prefixes)


def _squared_error(x: npt.NDArray[Any], groups: IntArray) -> float:
    """sum ||x_n - mean of the group of n||^2, in float64; x [n, dim], groups [n] without gaps."""
    order = np.argsort(groups, kind="stable")
    counts = np.bincount(groups)
    begins = np.cumsum(counts) - counts
    error = 0.0
    for column in range(0, x.shape[1], _COLUMNS_AT_ONCE):
        values = x[order, column : column + _COLUMNS_AT_ONCE].astype(np.float64)
        means = np.add.reduceat(values, begins, axis=0) / counts[:, None]
        values -= np.repeat(means, counts, axis=0)
        error += float(np.square(values, out=values).sum())
    return error


def largest_buckets(
    codes: npt.NDArray[np.int32], limit: int
) -> list[tuple[tuple[int, ...], IntArray]]:
    """The `limit` SIDs with the most items, fullest first, equal ones in SID order.

    codes [num_items, num_levels] -> (SID, rows of its items, ascending).
    """
    ids = prefix_ids(codes.astype(np.int64))
    fullest = np.argsort(-np.bincount(ids), kind="stable")[:limit]
    rows = [np.flatnonzero(ids == sid) for sid in fullest]
    return [(tuple(int(code) for code in codes[members[0]]), members) for members in rows]
