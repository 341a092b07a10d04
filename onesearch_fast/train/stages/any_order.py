"""The prompts of stage 3 with a user's events in any order: who took these also took that."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import numpy as np

from onesearch_fast.data.prompts import Row
from onesearch_fast.train.stages import Stage, StageInputs

# A short log teaches a model its own order by heart long before it teaches which items go together;
# each order is another example of that. A visit of 1 / ORDERS an epoch is one pass over the log.
# The rows of a stage are made once, so all its epochs see the same orders.
ORDERS = 4


def _mixed_histories(task: str, inputs: StageInputs) -> Iterator[Row]:
    random = np.random.default_rng(inputs.seed)
    # What a long history would stand for may come later in another order.
    inputs = replace(inputs, histories=None)
    for history in inputs.log.histories:
        for _ in range(ORDERS):
            order = random.permutation(len(history.events))
            mixed = replace(history, events=tuple(history.events[place] for place in order))
            turns = inputs.turns(mixed)
            yield from inputs.prompts.training_rows(task, history.profile, turns)


STAGE = Stage(
    "any_order", {task: partial(_mixed_histories, task) for task in ("search", "next_item")}
)
