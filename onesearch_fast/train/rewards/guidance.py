"""Preferences of a reward model over what the generator itself proposes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from onesearch_fast.engine.engine import Engine
from onesearch_fast.engine.engine_prompts import EnginePrompts
from onesearch_fast.train.rewards.behaviour import Behaviour, QuerySession
from onesearch_fast.train.rewards.towers import RewardModel, moved_by


class Guidance:
    """Ranks generated candidates anew: what moves up is wanted, what moves down is not.

    Items that the user took are wanted whatever the model says, and never unwanted. Levels are the
    model's scores. A prompt whose candidates all stay where they are keeps what was taken, and has
    nothing to lose against. Source: OneSearch, arXiv 2509.03236, section 3.4, phase 1.
    """

    def __init__(self, engine: Engine, model: RewardModel, num_candidates: int) -> None:
        self.engine = engine
        self._model = model
        self._num_candidates = num_candidates

    def __call__(
        self, prompts: EnginePrompts, sessions: Sequence[QuerySession]
    ) -> list[QuerySession]:
        """The sessions with the preferences of the model in place of the logged ones."""
        found = self.engine.generate(
            prompts.input_ids,
            prompts.attention_mask,
            num_beams=self._num_candidates,
            prompt_embeds=prompts.prompt_embeds,
        )
        items, counts = found.item_ids(self._num_candidates)
        return [
            self._guided(session, rows[:count])
            for session, rows, count in zip(sessions, items.tolist(), counts.tolist(), strict=True)
        ]

    def _guided(self, session: QuerySession, generated: list[int]) -> QuerySession:
        taken = [one.row for one in session.wanted]
        up, down = moved_by(generated, self._model.score(session, generated))
        wanted = dict.fromkeys((*taken, *up))
        unwanted = [row for row in down if row not in taken]
        return replace(
            session,
            wanted=self._scored(session, list(wanted)),
            unwanted=self._scored(session, unwanted)[::-1],
        )

    def _scored(self, session: QuerySession, rows: list[int]) -> tuple[Behaviour, ...]:
        """Best first."""
        if not rows:
            return ()
        scores = self._model.score(session, rows)
        order = np.argsort(-scores, kind="stable").tolist()
        return tuple(Behaviour(rows[at], float(scores[at])) for at in order)
