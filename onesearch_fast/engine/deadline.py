"""Deadlines: the moment by which a request wants its answer."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

from onesearch_fast.errors import invalid


@dataclass(frozen=True, order=True)
class Deadline:
    """A moment of the monotonic clock, in seconds; infinity for none.

    It holds across calls, where milliseconds are counted from each.
    """

    at: float = math.inf

    @property
    def is_set(self) -> bool:
        """Whether there is one."""
        return self.at != math.inf

    def passed(self) -> bool:
        """Whether it is over. Asked before each level, so a search ends at most a level late."""
        return self.is_set and time.monotonic() >= self.at

    def remaining(self) -> float | None:
        """Seconds until then, for a wait; None for ever."""
        return max(0.0, self.at - time.monotonic()) if self.is_set else None


# What callers may pass: one for all requests, or one (or None) per request; milliseconds from now,
# or a moment fixed before.
DeadlineArgument = float | Deadline | Sequence[float | Deadline | None] | None


def one_deadline_per_request(
    where: str, deadline_ms: DeadlineArgument, batch: int
) -> tuple[Deadline, ...]:
    """The deadline of each request; equal milliseconds give the same one."""
    now = time.monotonic()
    if deadline_ms is None or isinstance(deadline_ms, Real | Deadline):
        return (_deadline(where, deadline_ms, now),) * batch
    if not isinstance(deadline_ms, Sequence) or isinstance(deadline_ms, str):
        expected = "milliseconds, or one number (or None) per request"
        raise invalid(where, "deadline_ms", expected, type(deadline_ms), kind=TypeError)
    if len(deadline_ms) != batch:
        expected = f"one, or one per request ({batch})"
        raise invalid(where, "deadline_ms", expected, f"{len(deadline_ms)} deadlines")
    return tuple(_deadline(where, one, now) for one in deadline_ms)


def _deadline(where: str, milliseconds: Any, now: float) -> Deadline:
    if milliseconds is None or isinstance(milliseconds, Deadline):
        return milliseconds or Deadline()
    is_number = isinstance(milliseconds, Real) and not isinstance(milliseconds, bool)
    if not is_number or not milliseconds >= 0:  # NaN is no time either
        expected = "milliseconds of at least 0, or None"
        raise invalid(where, "deadline_ms", expected, repr(milliseconds))
    return Deadline(now + float(milliseconds) / 1000)
