"""Running searches: what is put in one batch, and who may touch the weights meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import torch

from onesearch_fast.engine.beam_search import SearchSpace
from onesearch_fast.engine.devices import current, wait_for
from onesearch_fast.engine.locks import SharedLock
from onesearch_fast.engine.memory import BatchLoads, Load, MemoryBudget
from onesearch_fast.engine.search_batch import Rows, SearchBatch
from onesearch_fast.errors import invalid
from onesearch_fast.models import Checkpoint

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T")
# Fields are tensors [batch, ...], or None in all parts.
Columns = TypeVar("Columns", bound="DataclassInstance")


@dataclass(frozen=True)
class Done(Generic[T]):
    """What was made of a batch, part by part: results[i] of the requests rows[i]."""

    results: list[T]
    rows: list[Rows]
    weight_version: int

    def joined(self: Done[Columns]) -> Columns:
        """The parts as one, with the requests of the batch in their order."""
        first = self.results[0]
        if len(self.results) == 1:
            return first
        order = torch.tensor([row for part in self.rows for row in part]).argsort()
        names = [field.name for field in fields(first)]
        columns = [[getattr(part, name) for part in self.results] for name in names]
        return type(first)(*(_joined(column, order) for column in columns))


def _joined(parts: Sequence[torch.Tensor | None], order: torch.Tensor) -> Any:
    tensors = [part for part in parts if part is not None]
    return torch.cat(tensors)[order.to(tensors[0].device)] if tensors else None


class Executor:
    """Runs searches over one model, from many threads at once."""

    def __init__(
        self, space: SearchSpace, deterministic: bool, budget: MemoryBudget | None
    ) -> None:
        self.space = space
        self._deterministic = deterministic
        self._budget = budget
        self._lock = SharedLock()
        self._weight_version = 1

    @property
    def weight_version(self) -> int:
        """1 at first, and one more for every `update_weights`."""
        return self._weight_version

    def run(
        self, batch: SearchBatch, loads: BatchLoads, work: Callable[[SearchBatch, Rows], T]
    ) -> Done[T]:
        """`work(part, rows)` for every part of a batch, all with the same weights."""
        parts = list(self._parts(batch, loads))
        results = []
        with self._lock.shared(), self._threads(), current(self.space.model.device):
            version = self._weight_version
            for rows in parts:
                part = batch.rows(rows)
                with self._memory(loads.of(rows), part):
                    results.append(_refused_without_memory(work, part, rows))
        return Done(results, parts, version)

    def embed(self, tokens: torch.Tensor) -> torch.Tensor:
        """[batch, token, hidden], of sound token ids [batch, token] on the model's device."""
        with self._lock.shared(), current(self.space.model.device):
            return self.space.model.embed(tokens)

    def update_weights(self, checkpoint: Checkpoint) -> None:
        """Waits for the searches that run, then copies new weights in."""
        with self._lock.alone(), current(self.space.model.device):
            # Searches whose answers nobody has looked at yet may run still, on any stream.
            wait_for(self.space.model.device)
            if self.space.reader.cache is not None:
                # Before the load, which may fail halfway on a file that cannot be read.
                self.space.reader.cache.clear()
            try:
                self.space.model.load(checkpoint)
            finally:
                # Copies from a module on a GPU run on this stream, searches on others.
                wait_for(self.space.model.device)
            self._weight_version += 1

    def _parts(self, batch: SearchBatch, loads: BatchLoads) -> Iterator[Rows]:
        """The batch as it is run: whole, or every request by itself, its bits then its own."""
        for rows in batch.by_deadline():
            groups = [[row] for row in rows] if self._deterministic else [rows]
            for group in groups:
                if self._budget is None:
                    yield group
                else:
                    yield from self._budget.split(group, loads)

    def _memory(self, load: Load, part: SearchBatch) -> AbstractContextManager[None]:
        if self._budget is None:
            return nullcontext()
        return self._budget.reserve(load, min(part.deadlines))

    def _threads(self) -> AbstractContextManager[None]:
        return _one_thread() if self._deterministic else nullcontext()


def _refused_without_memory(
    work: Callable[[SearchBatch, Rows], T], part: SearchBatch, rows: Rows
) -> T:
    """`work(part, rows)`; a ValueError where the device has too little memory for it."""
    try:
        return work(part, rows)
    except torch.OutOfMemoryError as error:
        reason = str(error).partition(". ")[0]
    # Outside of the handler, whose exception keeps what the search had taken.
    raise invalid(
        "Engine",
        "requests",
        "what the device has memory for",
        f"{len(rows)} at once ({reason})",
        "search fewer requests or beams at a time, or set max_memory_bytes, which splits batches",
    )


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keeps torch from splitting what this Python thread does.

    The setting is the calling thread's own (an OpenMP control variable); only a thread that uses
    torch for the first time meanwhile inherits it.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
