"""Stage 2, co-occurrence: which items are clicked for which queries, whoever the user is."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from onesearch_fast.data.prompts import Row
from onesearch_fast.train.stages import Stage, StageInputs


def _clicks(task: str, inputs: StageInputs) -> Iterator[Row]:
    """One row for each event with a query, so that frequent pairs weigh more."""
    for history in inputs.log.histories:
        for event in history.events:
            if event.query is None:
                continue
            fields = {
                "query": event.query,
                "query_sid": inputs.query_codes[event.query],
                "item_sid": inputs.item_codes[event.row],
                "title": inputs.log.items[event.row].title or None,
            }
            if inputs.prompts.can_fill(task, fields):
                yield inputs.prompts.pair_row(task, fields)


STAGE = Stage(
    "cooccurrence",
    {
        task: partial(_clicks, task)
        for task in ("query_to_item", "query_sid_to_item", "query_to_title", "title_to_query")
    },
)
