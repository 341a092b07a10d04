"""Stage 4, preference: the served prompts of the log, learnt from rewards."""

from __future__ import annotations

from collections.abc import Iterator

from onesearch_fast.data.prompts import Row
from onesearch_fast.train.stages import Stage, StageInputs


def _rows(inputs: StageInputs) -> Iterator[Row]:
    for case in inputs.preference_cases:
        yield case.row(inputs)


STAGE = Stage("preference", {"search": _rows})
