"""What a system under evaluation is, and the one top-k by which all baselines rank a catalogue."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from onesearch_fast.data.split import EvalCase
from onesearch_fast.errors import invalid
from onesearch_fast.evaluate.metrics import FloatArray, rows_with_duplicates

MAX_ITEMS = 1 << 30
MAX_TIERS = 4

# A chunk of cases is chosen so that the arrays over (case, item) stay near this size; a cell costs
# a float32 score, a uint64 key, a tier, and temporaries of the same order.
_CHUNK_BYTES = 64 << 20
_BYTES_PER_CELL = 24

_TIE_BITS = 30
_TIE_MASK = np.uint64((1 << _TIE_BITS) - 1)


class Ranker(Protocol):
    """A system: ranks the whole catalogue for each case."""

    @property
    def name(self) -> str: ...

    def rank(self, cases: Sequence[EvalCase], k: int) -> npt.NDArray[np.int32]:
        """int32 [num_cases, k]: item rows, best first, padded with -1.

        No row of the case's history and none twice; equally good items stand by a hash of their id,
        never by their place in the catalogue.
        """
        ...


@dataclass(frozen=True)
class Scores:
    """Scores of every item for some cases; an item of a higher tier comes first at any score.

    values: float32 [num_cases, num_items], finite, or -inf for "never". tiers: uint8 of the same
    shape in [0, 4), or None.
    """

    values: npt.NDArray[np.float32]
    tiers: npt.NDArray[np.uint8] | None = None


Scorer = Callable[[Sequence[EvalCase]], Scores]


class TieOrder:
    """A fixed pseudo-random order of a catalogue's items: by a hash of the item id, then the id.

    `place` int64 [num_items] is each row's place in it, `row` int64 [num_items] the inverse.
    """

    def __init__(self, item_ids: Sequence[str]) -> None:
        if not 0 < len(item_ids) < MAX_ITEMS:
            expected = f"between 1 and {MAX_ITEMS - 1} items"
            raise invalid("TieOrder", "item_ids", expected, len(item_ids))
        keys = [(hashlib.blake2b(i.encode(), digest_size=8).digest(), i) for i in item_ids]
        self.row = np.array(sorted(range(len(keys)), key=keys.__getitem__), dtype=np.int64)
        self.place = np.empty_like(self.row)
        self.place[self.row] = np.arange(len(self.row))

    @property
    def num_items(self) -> int:
        return len(self.row)


def ranking_keys(
    scores: Scores, ties: TieOrder, cases: Sequence[EvalCase]
) -> npt.NDArray[np.uint64]:
    """uint64 [num_cases, num_items]: larger = ranked before; 0 = never (history, or score -inf).

    key = tier (2 bits) | order-preserving bits of the score (32) | place among ties, reversed (30)

    so that no two items of a case share a key other than 0, and scores are compared exactly.
    """
    values = scores.values
    if np.isnan(values).any() or (values == np.inf).any():
        raise invalid("ranking_keys", "scores", "finite numbers or -inf", "NaN or +inf")
    bits = (values + np.float32(0.0)).view(np.uint32)  # + 0.0 makes -0.0 equal to 0.0
    bits = np.where(bits >> 31 == 1, ~bits, bits | np.uint32(1 << 31))
    keys = bits.astype(np.uint64) << np.uint64(_TIE_BITS)
    keys |= _TIE_MASK - ties.place.astype(np.uint64)
    if scores.tiers is not None:
        keys |= scores.tiers.astype(np.uint64) << np.uint64(_TIE_BITS + 32)
    keys[values == -np.inf] = 0
    case_of, history = history_pairs(cases)
    keys[case_of, history] = 0
    return keys


def top_k(keys: npt.NDArray[np.uint64], k: int, ties: TieOrder) -> npt.NDArray[np.int32]:
    """int32 [n, k]: rows of the k largest keys of each case, best first, padded with -1."""
    num_items = keys.shape[1]
    kept = min(k, num_items)
    largest = np.partition(keys, num_items - kept, axis=1)[:, num_items - kept :]
    largest = np.sort(largest, axis=1)[:, ::-1]
    place = (_TIE_MASK - (largest & _TIE_MASK)).astype(np.int64)
    place[largest == 0] = 0  # "never" decodes to no place at all
    ranked = np.full((len(keys), k), -1, dtype=np.int32)
    ranked[:, :kept] = np.where(largest == 0, -1, ties.row[place])
    return ranked


def history_pairs(
    cases: Sequence[EvalCase],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """(case index, item row) of every event of every history, both int64 [num_events]."""
    rows = [[event.row for event in case.history] for case in cases]
    lengths = [len(row) for row in rows]
    flat = np.array([row for one in rows for row in one], dtype=np.int64)
    return np.repeat(np.arange(len(cases)), lengths), flat


class DenseRanker:
    """A `Ranker` that scores every item of the catalogue, in chunks of cases of bounded memory."""

    def __init__(self, name: str, ties: TieOrder, score: Scorer) -> None:
        self.name = name
        self._ties = ties
        self._score = score

    def rank(self, cases: Sequence[EvalCase], k: int) -> npt.NDArray[np.int32]:
        ranked = np.full((len(cases), k), -1, dtype=np.int32)
        for begin, chunk in chunks(cases, self._ties.num_items):
            keys = ranking_keys(self._score(chunk), self._ties, chunk)
            ranked[begin : begin + len(chunk)] = top_k(keys, k, self._ties)
        return ranked


def chunks(cases: Sequence[EvalCase], num_items: int) -> Iterator[tuple[int, Sequence[EvalCase]]]:
    """(first index, cases) of consecutive chunks whose (case, item) arrays fit the chunk memory."""
    size = max(1, _CHUNK_BYTES // (_BYTES_PER_CELL * num_items))
    for begin in range(0, len(cases), size):
        yield begin, cases[begin : begin + size]


def target_ndcgs(
    scores: Scores, ties: TieOrder, cases: Sequence[EvalCase], k: int = 10
) -> FloatArray:
    """NDCG@k of each case's target, float64 [num_cases], by counting larger keys, not sorting."""
    keys = ranking_keys(scores, ties, cases)
    target = keys[np.arange(len(cases)), [case.target_row for case in cases]]
    rank = 1 + (keys > target[:, None]).sum(axis=1)
    return np.where((rank <= k) & (target > 0), 1.0 / np.log2(1.0 + rank), 0.0)


def check_ranking(
    name: str, ranked: npt.NDArray[np.int32], cases: Sequence[EvalCase], k: int, num_items: int
) -> None:
    """Raises ValueError naming the ranker unless `ranked` keeps the promises of `Ranker.rank`."""
    where = f"ranker {name!r}"
    if ranked.shape != (len(cases), k) or not np.issubdtype(ranked.dtype, np.integer):
        expected = f"integers [{len(cases)}, {k}]"
        raise invalid(where, "rank", expected, f"{ranked.dtype} {list(ranked.shape)}")
    outside = (ranked < -1) | (ranked >= num_items)
    if outside.any():
        expected = f"rows in [0, {num_items}) or -1"
        raise invalid(where, "rank", expected, int(ranked[outside][0]))
    if ((ranked[:, :-1] == -1) & (ranked[:, 1:] != -1)).any():
        raise invalid(where, "rank", "padding -1 only behind the items", "-1 before an item")
    doubled = rows_with_duplicates(ranked)
    if doubled.any():
        user = cases[int(doubled.argmax())].user_id
        raise invalid(where, "rank", "no item twice", f"a repeated row for user {user!r}")
    _check_history(where, ranked, cases)


def _check_history(where: str, ranked: npt.NDArray[np.int32], cases: Sequence[EvalCase]) -> None:
    # A pair (case, row) as one number: a hit of any history pair among the ranked pairs is a fault.
    case_of, history = history_pairs(cases)
    stride = np.int64(MAX_ITEMS)
    seen = case_of * stride + history
    given = np.arange(len(ranked))[:, None] * stride + ranked
    broken = np.isin(given, seen) & (ranked >= 0)
    if broken.any():
        user = cases[int(broken.any(axis=1).argmax())].user_id
        raise invalid(where, "rank", "no item of the history", f"one for user {user!r}")
