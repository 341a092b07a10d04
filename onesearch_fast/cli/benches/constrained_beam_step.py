"""The trie step, against its reference in plain torch."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch

from onesearch_fast.cli.bench import Row
from onesearch_fast.ops.constrained_beam_step import OPERATOR, BeamStepResult, constrained_beam_step
from onesearch_fast.registry import REFERENCE
from onesearch_fast.testing import time_alternating
from onesearch_fast.testing.cases import Arguments
from onesearch_fast.testing.cases.constrained_beam_step import check, random_step, random_trie

LEVEL_SIZES = (2048, 512, 256)


def assert_right(arguments: Arguments, ours: BeamStepResult, _: BeamStepResult) -> None:
    check(arguments, ours, OPERATOR.tolerance[torch.float32])


def rows() -> Iterator[Row]:
    """The second level of a catalogue of 200,000 items."""
    trie = random_trie(200_000, LEVEL_SIZES, skew=0.5)
    for batch, beams in ((1, 32), (1, 256), (8, 128)):
        arguments = random_step(
            torch.float32, trie, level=1, batch=batch, beam_in=beams, num_beams=beams
        )
        ours = partial(constrained_beam_step, **arguments, out=BeamStepResult.empty(batch, beams))
        reference = partial(constrained_beam_step, **arguments, backend=REFERENCE)
        times = time_alternating(
            {"ours": ours, "reference": reference}, partial(assert_right, arguments), repeats=5
        )
        size = f"{batch} x {beams} beams, {LEVEL_SIZES[1]} codes"
        yield Row("trie step", size, times["ours"], "torch reference", times["reference"])
