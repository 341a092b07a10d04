"""Training rows in flat arrays, and the plan of which rows each optimiser step sees."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

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
    def num_labels(self) -> IntArray:
        """int64 [num_rows]: labels of each row; its first token is none, nothing predicts it."""
        ends = np.cumsum(np.concatenate([[0], self.learnt]), dtype=np.int64)[self.begin]
        first = np.zeros(len(self), dtype=np.int64)
        filled = self.lengths > 0
        first[filled] = self.learnt[self.begin[:-1][filled]]
        return np.diff(ends) - first

    def __len__(self) -> int:
        return len(self.begin) - 1


@dataclass(frozen=True, eq=False)
class Batch:
    """One padded batch; every tensor int64 but the mask.

    Attributes:
        input_ids: [rows, length]: what the model reads, padded on the right.
        positions: [labels]; flat indices into rows x length of the output (of the decoder, where
            there is one) that predict a label.
        labels: [labels].
        decoder_ids: [rows, decoder length], the decoder's own input; None without an encoder.
        mask: what may be attended to, where padding on the right does not say it: bool
            [rows, length] for an encoder, float [rows, 1, length, length] to add for a decoder.
        position_ids: [rows, length]; None counts from 0.
    """

    input_ids: torch.Tensor
    positions: torch.Tensor
    labels: torch.Tensor
    decoder_ids: torch.Tensor | None = None
    mask: torch.Tensor | None = None
    position_ids: torch.Tensor | None = None

    def to(self, device: torch.device) -> Batch:
        return self._mapped(lambda part: part.to(device))

    def repeated(self, times: int) -> Batch:
        """The batch so many times over, one below the other."""
        shown = self.input_ids if self.decoder_ids is None else self.decoder_ids
        first = torch.arange(times, device=shown.device)[:, None] * shown.numel()
        rows = self._mapped(lambda part: part.repeat(times, *[1] * (part.dim() - 1)))
        return replace(rows, positions=(self.positions + first).flatten())

    def _mapped(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Batch:
        given: dict[str, Any] = {
            name: change(part)
            for name in self.__dataclass_fields__
            if (part := getattr(self, name)) is not None
        }
        return Batch(**given)


def make_batch(rows: TokenRows, chosen: IntArray, pad_id: int) -> Batch:
    """Pads the chosen rows to the longest of them; causal attention never looks at the padding."""
    ids, learnt = _padded(rows, chosen, pad_id)
    labels_at = np.flatnonzero(learnt)
    return Batch(
        torch.from_numpy(ids),
        torch.from_numpy(labels_at - 1),
        torch.from_numpy(ids.reshape(-1)[labels_at]),
    )


def make_encoder_decoder_batch(
    rows: TokenRows, chosen: IntArray, pad_id: int, decoder_prefix_ids: Sequence[int]
) -> Batch:
    """As `make_batch`, of `single_targets`: the encoder reads what stands before the target.

    The decoder reads `decoder_prefix_ids`, then the target but its last token.
    """
    targets = [rows.learnt[rows.begin[row] : rows.begin[row + 1]].sum() for row in chosen]
    ids, _ = _padded(rows, chosen, pad_id)
    sources = rows.lengths[chosen] - targets
    width, prefix = int(max(targets)), len(decoder_prefix_ids)
    columns = np.arange(width)
    inside = columns < np.asarray(targets)[:, None]
    at = np.where(inside, sources[:, None] + columns, 0)
    target_ids = np.where(inside, np.take_along_axis(ids, at, axis=1), pad_id)
    begins = np.tile(np.asarray(decoder_prefix_ids, dtype=np.int64), (len(chosen), 1))
    decoder_ids = np.concatenate([begins, target_ids[:, :-1]], axis=1)
    row, place = np.nonzero(inside)
    mask = np.arange(int(sources.max())) < sources[:, None]
    return Batch(
        torch.from_numpy(np.where(mask, ids[:, : mask.shape[1]], pad_id)),
        torch.from_numpy(row * decoder_ids.shape[1] + prefix - 1 + place),
        torch.from_numpy(target_ids[inside]),
        torch.from_numpy(decoder_ids),
        torch.from_numpy(mask),
    )


def single_targets(rows: TokenRows) -> TokenRows:
    """One row for each target: all that stands before it, and it alone to be learnt.

    What an encoder-decoder trains on: its encoder reads a prompt, and knows no second target.
    """
    cut: list[Row] = []
    for row in range(len(rows)):
        span = slice(rows.begin[row], rows.begin[row + 1])
        ids, learnt = rows.ids[span].tolist(), rows.learnt[span]
        edges = np.flatnonzero(np.diff(np.concatenate([[0], learnt, [0]])))
        for begin, end in edges.reshape(-1, 2).tolist():
            one = Row()
            one.add(ids[:begin], False)
            one.add(ids[begin:end], True)
            cut.append(one)
    return TokenRows.pack(cut)


def _padded(
    rows: TokenRows, chosen: IntArray, pad_id: int
) -> tuple[IntArray, npt.NDArray[np.bool_]]:
    """ids int64 [rows, length], and which of them are to be learnt."""
    lengths = rows.lengths[chosen]
    columns = np.arange(int(lengths.max()))
    inside = columns < lengths[:, None]
    source = np.where(inside, rows.begin[chosen][:, None] + columns, 0)
    ids = np.where(inside, rows.ids[source], pad_id).astype(np.int64)
    learnt = inside & rows.learnt[source]
    learnt[:, 0] = False  # nothing stands before the first token that could predict it
    return ids, learnt


def plan_batches(
    lengths_of: Mapping[str, IntArray],
    visits: Mapping[str, float],
    tokens_per_batch: int,
    epochs: int,
    seed: int,
) -> list[IntArray]:
    """The rows of every step, as indices into the tasks' rows laid one behind the other.

    A row of task t is visited visits[t] times an epoch on average, evenly. Rows of similar length
    share a batch; rows x longest is at most tokens_per_batch, unless one row alone is longer.
    Deterministic in its arguments.

    Args:
        lengths_of: task -> int64 [num_rows], the tokens of each row.
    """
    if tokens_per_batch < 1:
        raise invalid("plan_batches", "tokens_per_batch", "at least 1", tokens_per_batch)
    lengths = np.concatenate([[0], *lengths_of.values()])[1:]
    streams = []
    first = 0
    for number, (task, of_task) in enumerate(lengths_of.items()):
        streams.append(_visits(first, len(of_task), visits[task], epochs, (seed, number)))
        first += len(of_task)
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
