"""Training rows in flat arrays, and the plan of which rows each optimiser step sees."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import numpy.typing as npt

from onesearch_fast.data.prompts import Row
from onesearch_fast.errors import invalid

IntArray = npt.NDArray[np.int64]

# Rows are sorted by length inside groups of this many batches: little padding, still well mixed.
_BATCHES_PER_GROUP = 32


@dataclass(frozen=True, eq=False)
class TokenRows:
    """Rows of tokens, one behind the other.

    Attributes:
        ids: int32 [num_tokens].
        learnt: bool [num_tokens]; token i is to be predicted from the tokens of its row before it.
        begin: int64 [num_rows + 1]; row r is ids[begin[r]:begin[r + 1]].
    """

    ids: npt.NDArray[np.int32]
    learnt: npt.NDArray[np.bool_]
    begin: IntArray

    @classmethod
    def pack(cls, rows: Iterable[Row]) -> TokenRows:
        kept = list(rows)
        lengths = [len(row.ids) for row in kept]
        ids = np.fromiter(chain.from_iterable(row.ids for row in kept), np.int32, sum(lengths))
        learnt = np.fromiter(chain.from_iterable(row.learnt for row in kept), bool, sum(lengths))
        return cls(ids, learnt, np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]))

    @classmethod
    def concatenate(cls, parts: Sequence[TokenRows]) -> TokenRows:
        lengths = np.concatenate([[0], *(part.lengths for part in parts)])
        return cls(
            np.concatenate([np.zeros(0, np.int32), *(part.ids for part in parts)]),
            np.concatenate([np.zeros(0, bool), *(part.learnt for part in parts)]),
            np.cumsum(lengths),
        )

    @property
    def lengths(self) -> IntArray:
        return np.diff(self.begin)

    @property
    def num_learnt(self) -> int:
        return int(self.learnt.sum())

    def __len__(self) -> int:
        return len(self.begin) - 1


@dataclass(frozen=True, eq=False)
class Batch:
    """One padded batch.

    Attributes:
        input_ids: int64 [rows, length], padded on the right; causal attention never looks there.
        positions: int64 [labels]; flat indices into rows x length whose output predicts a label.
        labels: int64 [labels].
    """

    input_ids: IntArray
    positions: IntArray
    labels: IntArray


def make_batch(rows: TokenRows, chosen: IntArray, pad_id: int) -> Batch:
    """Pads the chosen rows to the longest of them."""
    lengths = rows.lengths[chosen]
    width = int(lengths.max())
    columns = np.arange(width)
    inside = columns < lengths[:, None]
    source = np.where(inside, rows.begin[chosen][:, None] + columns, 0)
    ids = np.where(inside, rows.ids[source], pad_id).astype(np.int64)
    learnt = inside & rows.learnt[source]
    learnt[:, 0] = False  # nothing stands before the first token that could predict it
    labels_at = np.flatnonzero(learnt)
    return Batch(ids, labels_at - 1, ids.reshape(-1)[labels_at])


def plan_batches(
    tasks: Mapping[str, TokenRows],
    visits: Mapping[str, float],
    tokens_per_batch: int,
    epochs: int,
    seed: int,
) -> list[IntArray]:
    """The rows of every step, as indices into the tasks' rows laid one behind the other.

    A row of task t is visited visits[t] times an epoch on average, evenly. Rows of similar length
    share a batch; rows x longest is at most tokens_per_batch, unless one row alone is longer.
    Deterministic in its arguments.
    """
    if tokens_per_batch < 1:
        raise invalid("plan_batches", "tokens_per_batch", "at least 1", tokens_per_batch)
    lengths = np.concatenate([[0], *(rows.lengths for rows in tasks.values())])[1:]
    streams = []
    first = 0
    for number, (task, rows) in enumerate(tasks.items()):
        streams.append(_visits(first, len(rows), visits[task], epochs, (seed, number)))
        first += len(rows)
    plan: list[IntArray] = []
    for epoch, parts in enumerate(zip(*streams, strict=True)):
        rng = np.random.default_rng((seed, 1 << 20, epoch))
        shuffled = rng.permutation(np.concatenate(parts))
        batches = list(_cut(shuffled, lengths, tokens_per_batch))
        plan += [batches[position] for position in rng.permutation(len(batches))]
    return plan


def _visits(
    first: int, num_rows: int, visits: float, epochs: int, seed: tuple[int, int]
) -> Iterator[IntArray]:
    """Rows of one task for each epoch: consecutive pieces of an endless chain of permutations."""
    rng = np.random.default_rng(seed)
    waiting = np.zeros(0, dtype=np.int64)
    for epoch in range(epochs):
        wanted = int(visits * num_rows * (epoch + 1)) - int(visits * num_rows * epoch)
        while len(waiting) < wanted:
            waiting = np.concatenate([waiting, first + rng.permutation(num_rows)])
        yield waiting[:wanted]
        waiting = waiting[wanted:]


def _cut(chosen: IntArray, lengths: IntArray, tokens_per_batch: int) -> Iterator[IntArray]:
    total = np.cumsum(lengths[chosen])
    group_of = total // (tokens_per_batch * _BATCHES_PER_GROUP)
    for group in np.split(chosen, np.flatnonzero(np.diff(group_of)) + 1):
        ordered = group[np.argsort(lengths[group], kind="stable")]
        begin = 0
        for end in range(1, len(ordered) + 1):
            # Sorted, so the newest row is the longest of the batch.
            if end == len(ordered) or (end + 1 - begin) * lengths[ordered[end]] > tokens_per_batch:
                yield ordered[begin:end]
                begin = end
