"""What a search takes, checked before the long work that comes first."""

from __future__ import annotations

import math

from onesearch_fast.errors import invalid


def check_num_beams(verb: str, num_beams: int) -> None:
    from onesearch_fast.engine.numbers import whole_number
    from onesearch_fast.engine.search_batch import MAX_BEAMS

    whole_number(verb, "--num-beams", num_beams, 1, MAX_BEAMS)


def check_minutes(verb: str, flag: str, minutes: float | None) -> None:
    if minutes is not None and not 0 < minutes < math.inf:
        raise invalid(verb, flag, "minutes, more than 0", minutes)


def check_cases(verb: str, cases: int | None) -> None:
    from onesearch_fast.engine.numbers import whole_number

    if cases is not None:
        whole_number(verb, "--cases", cases, 1)
