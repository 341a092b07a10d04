"""Requests that are searched together, and what they ask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from onesearch_fast.engine.catalogues import Catalogues
from onesearch_fast.engine.deadline import Deadline
from onesearch_fast.engine.filters import Filters
from onesearch_fast.engine.numbers import whole_number
from onesearch_fast.engine.prompt_batch import PromptBatch
from onesearch_fast.errors import invalid

# A request's beams times its steps is allocated up front, so a slip of the keyboard is refused.
MAX_BEAMS = 1 << 16

Rows = Sequence[int]


@dataclass(frozen=True)
class SearchBatch:
    """What the requests of one batch differ in.

    Attributes:
        prompts: what each begins with.
        catalogues: where each searches.
        filters: which items each may find.
        num_beams: the most beams of each at any level.
        deadlines: when each wants its answer.
        seeds: of each one's noise; None without.
    """

    prompts: PromptBatch
    catalogues: Catalogues
    filters: Filters
    num_beams: tuple[int, ...]
    deadlines: tuple[Deadline, ...]
    seeds: tuple[int, ...] | None = None

    def __len__(self) -> int:
        return len(self.prompts)

    def rows(self, rows: Rows) -> SearchBatch:
        """Some of the requests."""
        if list(rows) == list(range(len(self))):
            return self
        return SearchBatch(
            self.prompts.rows(rows),
            self.catalogues.rows(rows),
            None if self.filters is None else [self.filters[row] for row in rows],
            tuple(self.num_beams[row] for row in rows),
            tuple(self.deadlines[row] for row in rows),
            None if self.seeds is None else tuple(self.seeds[row] for row in rows),
        )

    def by_deadline(self) -> list[Rows]:
        """Requests of equal deadlines together, the earliest first."""
        order = sorted(range(len(self)), key=lambda row: self.deadlines[row])
        return [list(rows) for _, rows in groupby(order, key=lambda row: self.deadlines[row])]


def beams_per_request(
    where: str, num_beams: int | Sequence[int], beam_schedule: Sequence[int] | None, batch: int
) -> tuple[int, ...]:
    """The most beams of each request; those of the schedule's widest level where there is one."""
    if isinstance(num_beams, Sequence) and not isinstance(num_beams, str):
        if beam_schedule is not None:
            remedy = "a schedule holds for all requests and stands in place of num_beams"
            raise invalid(where, "num_beams", "one number beside beam_schedule", num_beams, remedy)
        if len(num_beams) != batch:
            expected = f"one number, or one per request ({batch})"
            raise invalid(where, "num_beams", expected, f"{len(num_beams)} numbers")
        return tuple(_width(where, "num_beams", one) for one in num_beams)
    if beam_schedule is not None:
        return (max(beam_schedule),) * batch
    return (_width(where, "num_beams", num_beams),) * batch


def beams_per_level(
    where: str, beam_schedule: Sequence[int] | None, num_levels: int
) -> tuple[int, ...] | None:
    """A checked schedule: the beams kept after each level."""
    if beam_schedule is None:
        return None
    if not isinstance(beam_schedule, Sequence) or len(beam_schedule) != num_levels:
        expected = f"one beam width per level ({num_levels})"
        raise invalid(where, "beam_schedule", expected, beam_schedule)
    return tuple(_width(where, "beam_schedule", one) for one in beam_schedule)


def _width(where: str, argument: str, width: object) -> int:
    return whole_number(where, argument, width, 1, MAX_BEAMS)
