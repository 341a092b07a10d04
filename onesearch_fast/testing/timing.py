"""Paired timing: rivals run in turn on the same inputs, once their outputs were found equal."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

Result = TypeVar("Result")

# Runs as long as this are timed in the first round alone: they even out noise by themselves.
LONG_SECONDS = 4.0


@dataclass(frozen=True)
class Timing:
    """Microseconds of one call: the fastest and the median of the repeats."""

    min_us: float
    median_us: float


def time_alternating(
    rivals: Mapping[str, Callable[[], Result]],
    assert_equal: Callable[[Result, Result], None],
    repeats: int = 11,
    turn_seconds: float = 0.0,
) -> dict[str, Timing]:
    """Gives each rival `repeats` turns, in the order A B C A B C ..., so that load meets all alike.

    A turn is one call, or as many in a row as take `turn_seconds`, where a call is not to meet the
    caches as another rival has left them. First (and as warm-up) each runs once, and
    `assert_equal(first rival's result, its result)` must hold. Rivals that take `LONG_SECONDS` or
    more have one turn.
    """
    results = [rival() for rival in rivals.values()]
    for result in results[1:]:
        assert_equal(results[0], result)
    samples: dict[str, list[float]] = {name: [] for name in rivals}
    for _ in range(repeats):
        for name, rival in rivals.items():
            if max(samples[name], default=0.0) < LONG_SECONDS * 1e6:
                samples[name] += _turn(rival, turn_seconds)
    return {name: Timing(min(us), statistics.median(us)) for name, us in samples.items()}


def _turn(run: Callable[[], object], seconds: float) -> list[float]:
    samples = [_microseconds(run)]
    while sum(samples) < seconds * 1e6:
        samples.append(_microseconds(run))
    return samples


def _microseconds(run: Callable[[], object]) -> float:
    start = time.perf_counter_ns()
    run()
    return (time.perf_counter_ns() - start) / 1e3
