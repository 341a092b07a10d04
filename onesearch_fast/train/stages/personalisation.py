"""Stage 3, personalisation: the prompts that are served, every turn of a user in one row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from onesearch_fast.data.prompts import Row
from onesearch_fast.data.split import EvalCase, UserHistory
from onesearch_fast.train.stages import Stage, StageInputs

TASKS = ("search", "next_item")


def _histories(task: str, inputs: StageInputs) -> Iterator[Row]:
    for history in inputs.log.histories:
        yield from inputs.prompts.training_rows(task, history.profile, inputs.turns(history))


def _taught_histories(task: str, inputs: StageInputs) -> Iterator[Row]:
    for history in inputs.log.histories:
        turns = inputs.taught_turns(history)
        yield from inputs.prompts.training_rows(task, history.profile, turns)


def validation_rows(cases: Sequence[EvalCase], inputs: StageInputs) -> Iterator[Row]:
    """The served prompt of each case with its target's SID, the only part that is scored.

    `inputs.query_codes` must hold the queries of the cases.
    """
    for case in cases:
        past = UserHistory(case.user_id, case.profile, case.history)
        history, user_id = inputs.turns(past), inputs.ids_before(past, case.query)[-1]
        tokens = inputs.tokens_before(past, len(past.events))
        row = Row()
        if case.query is not None:
            query_codes = inputs.query_codes[case.query]
            prompt = inputs.prompts.search_prompt(
                case.profile, history, case.query, query_codes, user_id, tokens
            )
        else:
            prompt = inputs.prompts.next_item_prompt(case.profile, history, user_id, tokens)
        row.add(prompt, False)
        row.add(
            inputs.prompts.tokenizer.code_ids(inputs.item_codes[case.target_row]).tolist(), True
        )
        yield row


STAGE = Stage(
    "personalisation",
    {task: partial(_histories, task) for task in TASKS},
    {"search": partial(_taught_histories, "search")},
)
