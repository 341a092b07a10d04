"""Where the time of a search went."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class GenerateStats:
    """What one `Engine.generate` did; seconds of the wall clock, summed over its batches.

    Attributes:
        seconds: the whole call, checks and waiting included.
        prefill: reading the prompts.
        model: per level, running the model over the beams and cutting out the level's logits; at
            level 0 the logits alone, since the prompt's last state decides it.
        selection: per level, choosing the beams.
        prompt_tokens: per request, tokens of its prompt.
        cached_tokens: per request, how many of them the prefix cache held.
        batches: in how many batches the requests were searched.
        graphed: how many of them were one CUDA graph each, which `model` then counts at level 0. On
            a GPU all but `seconds` are the times of enqueuing.
    """

    seconds: float
    prefill: float
    model: tuple[float, ...]
    selection: tuple[float, ...]
    prompt_tokens: tuple[int, ...]
    cached_tokens: tuple[int, ...]
    batches: int
    graphed: int


class Stopwatch:
    """Adds up the laps of one call; used by one thread. A lap costs a tenth of a microsecond."""

    def __init__(self, num_levels: int) -> None:
        self.prefill = 0.0
        self.model = [0.0] * num_levels
        self.selection = [0.0] * num_levels
        self.batches = 0
        self.graphed = 0
        self._begin = self._last = time.perf_counter()

    def start_batch(self) -> None:
        """What went before is nobody's lap."""
        self.batches += 1
        self._last = time.perf_counter()

    def lap(self) -> float:
        """Seconds since the last lap."""
        before, self._last = self._last, time.perf_counter()
        return self._last - before

    def stats(self, prompt_tokens: Sequence[int], cached_tokens: Sequence[int]) -> GenerateStats:
        """The sums so far."""
        return GenerateStats(
            seconds=time.perf_counter() - self._begin,
            prefill=self.prefill,
            model=tuple(self.model),
            selection=tuple(self.selection),
            prompt_tokens=tuple(prompt_tokens),
            cached_tokens=tuple(cached_tokens),
            batches=self.batches,
            graphed=self.graphed,
        )
