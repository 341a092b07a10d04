"""Running searches: what is put in one batch, and who may touch the weights meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch

from onesearch_fast.engine.beam_search import Beams, SearchSpace
from onesearch_fast.engine.locks import SharedLock
from onesearch_fast.engine.scoring import score_codes
from onesearch_fast.engine.search_batch import Rows, SearchBatch
from onesearch_fast.engine.statistics import Stopwatch
from onesearch_fast.models import Checkpoint

# Searches some requests together.
Search = Callable[[SearchBatch, Stopwatch], Beams]


class Executor:
    """Runs searches over one model, from many threads at once."""

    def __init__(self, space: SearchSpace, deterministic: bool) -> None:
        self.space = space
        self._deterministic = deterministic
        self._lock = SharedLock()
        self._weight_version = 1

    @property
    def weight_version(self) -> int:
        """1 at first, and one more for every `update_weights`."""
        return self._weight_version

    def run(self, batch: SearchBatch, search: Search, watch: Stopwatch) -> tuple[Beams, int]:
        """The beams of all requests, and the version of the weights that made them."""
        with self._lock.shared(), self._threads():
            version = self._weight_version
            parts = list(self._parts(batch))
            beams = []
            for rows in parts:
                watch.start_batch()
                beams.append(search(batch.rows(rows), watch))
        return Beams.concatenate(beams, parts), version

    def score(self, batch: SearchBatch, codes: torch.Tensor, normalizer: str) -> torch.Tensor:
        """`score_codes` of all requests: codes [batch, sid, level] -> [batch, sid]."""
        with self._lock.shared(), self._threads():
            parts = [
                score_codes(self.space, batch.rows(rows), codes[list(rows)], normalizer)
                for rows in self._parts(batch)
            ]
        return torch.cat(parts)

    def update_weights(self, checkpoint: Checkpoint) -> None:
        """Waits for the searches that run, then copies new weights in."""
        with self._lock.alone():
            if self.space.reader.cache is not None:
                # Before the load, which may fail halfway on a file that cannot be read.
                self.space.reader.cache.clear()
            self.space.model.load(checkpoint)
            self._weight_version += 1

    def _parts(self, batch: SearchBatch) -> Iterator[Rows]:
        """The batch as it is run: whole, or every request by itself, its bits then its own."""
        for rows in batch.by_deadline():
            if self._deterministic:
                yield from ([row] for row in rows)
            else:
                yield rows

    def _threads(self) -> AbstractContextManager[None]:
        return _one_thread() if self._deterministic else nullcontext()


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
