"""What preference stages learn from: the served prompts of the log, and what followed them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from onesearch_fast.data.prompts import Row
from onesearch_fast.train.rewards.behaviour import QuerySession, query_sessions

if TYPE_CHECKING:
    from onesearch_fast.train.stages import StageInputs


@dataclass(frozen=True, eq=False)
class PreferenceCase:
    """A served prompt of the log, and what its user did next."""

    prompt: list[int]
    session: QuerySession

    def row(self, inputs: StageInputs) -> Row:
        """The prompt with the SID of the item that was wanted most."""
        row = Row()
        row.add(self.prompt, False)
        best = inputs.item_codes[self.session.wanted[0].row]
        row.add(inputs.prompts.tokenizer.code_ids(best).tolist(), True)
        return row


def preference_cases(inputs: StageInputs) -> list[PreferenceCase]:
    """One case for each query session of the log, user by user: as it began, all before is past."""
    turns = [inputs.turns(history) for history in inputs.log.histories]
    cases = []
    for session in query_sessions(inputs.log):
        history = inputs.log.histories[session.user]
        past, first = turns[session.user][: session.begin], turns[session.user][session.begin]
        codes = inputs.query_codes[session.query]
        # A past is the same for every query of its session; without one, the query says it all.
        user_id = first.user_id if past else inputs.id_before_all(history, session.query)
        prompt = inputs.prompts.search_prompt(
            history.profile, past, session.query, codes, user_id, first.long_history
        )
        cases.append(PreferenceCase(prompt, session))
    return cases
