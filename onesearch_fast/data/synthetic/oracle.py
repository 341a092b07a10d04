"""The ceiling: ranks by the true utilities, without the noise of choice, knowing the intent."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from onesearch_fast.data.split import EvalCase
from onesearch_fast.data.synthetic.catalogue import Catalogue
from onesearch_fast.data.synthetic.sessions import Session
from onesearch_fast.data.synthetic.shoppers import Shoppers
from onesearch_fast.data.synthetic.utility import (
    FEATURE_STEP,
    WEIGHT_STEP,
    Floats,
    intent_weights,
    subtract_penalties,
)
from onesearch_fast.errors import invalid

_CHUNK = 256
_REMOVED = -1e6


class Oracle:
    """Ranker by hidden truth.

    A search case is ranked by the utilities of its session, the order of the true chances: no
    system can be expected above it. A case without a query is ranked before the intent is known: by
    the chance of each category after the last session, times the chance that taste alone picks the
    item there. That leaves out what the intent would add: near the best, not above everything.
    """

    name = "oracle"

    def __init__(
        self, catalogue: Catalogue, shoppers: Shoppers, sessions: Sequence[Session]
    ) -> None:
        self._catalogue = catalogue
        self._shoppers = shoppers
        self._clicked: dict[str, list[Session]] = defaultdict(list)
        for session in sessions:
            if session.clicked is not None:
                self._clicked[shoppers.user_id(session.user)].append(session)
        digests = [
            hashlib.blake2b(f"p{row:05d}".encode(), digest_size=8).digest()
            for row in range(len(catalogue.category))
        ]
        self._tie_rank = np.argsort(np.argsort(digests)).astype(np.int64)

    def rank(self, cases: Sequence[EvalCase], k: int) -> npt.NDArray[np.int32]:
        """int32 [num_cases, k]: catalogue rows, best first, history removed, padded with -1.

        Ties go to the lower hash of the item id. Cost: num_cases * num_items * layout.width.
        """
        if k < 1:
            raise invalid("Oracle.rank", "k", "at least 1", k)
        ranked = np.full((len(cases), k), -1, dtype=np.int32)
        for begin in range(0, len(cases), _CHUNK):
            chunk = cases[begin : begin + _CHUNK]
            ranked[begin : begin + _CHUNK] = self._rank_chunk(chunk, k)
        return ranked

    def _rank_chunk(self, cases: Sequence[EvalCase], k: int) -> npt.NDArray[np.int32]:
        sessions = [self._session(case) for case in cases]
        asked = np.array([case.query is not None for case in cases])
        scores = np.empty((len(cases), len(self._catalogue.category)))
        for known, score in ((asked, self._with_intent), (~asked, self._without_intent)):
            chosen = np.flatnonzero(known)
            if len(chosen):
                scores[chosen] = score([sessions[i] for i in chosen])
        for row, case in zip(scores, cases, strict=True):
            row[[event.row for event in case.history]] = _REMOVED
        return self._best(scores, k)

    def _session(self, case: EvalCase) -> Session:
        """Every clicked session is one event, so the history's length tells which session it is."""
        sessions = self._clicked.get(case.user_id, [])
        position = len(case.history)
        if position < len(sessions) and case.query in (None, sessions[position].query):
            return sessions[position]
        raise invalid(
            "Oracle.rank",
            "cases",
            "cases of leave_last_out on this very catalogue",
            f"user {case.user_id!r} with a history of {position} and query {case.query!r}",
        )

    def _tastes(self, sessions: Sequence[Session]) -> Floats:
        phases = [session.phase for session in sessions]
        return self._shoppers.tastes[phases, [session.user for session in sessions]]

    def _with_intent(self, sessions: Sequence[Session]) -> npt.NDArray[np.float64]:
        catalogue = self._catalogue
        intents = [session.intent for session in sessions]
        weights = self._tastes(sessions) + intent_weights(catalogue.layout, intents)
        utilities = np.asarray(weights @ catalogue.features.T, dtype=np.float32)
        subtract_penalties(utilities, intents, catalogue.price, catalogue.series)
        return utilities.astype(np.float64)

    def _without_intent(self, sessions: Sequence[Session]) -> npt.NDArray[np.float64]:
        catalogue = self._catalogue
        odds = np.exp((self._tastes(sessions) @ catalogue.features.T).astype(np.float64))
        total = odds @ catalogue.features[:, : catalogue.layout.num_categories]
        users = np.array([session.user for session in sessions])
        previous = np.array([session.previous for session in sessions])
        chance = self._shoppers.category_probabilities(users, previous)
        return np.log(odds * (chance / np.maximum(total, 1e-300))[:, catalogue.category] + 1e-300)

    def _best(self, scores: npt.NDArray[np.float64], k: int) -> npt.NDArray[np.int32]:
        num_items = scores.shape[1]
        # One integer per item: the score on a grid finer than any real difference, then the hash.
        grid = np.round(scores / (FEATURE_STEP * WEIGHT_STEP)).astype(np.int64)
        keys = -grid * num_items + self._tie_rank
        width = min(k, num_items)
        best = np.argpartition(keys, width - 1, axis=1)[:, :width]
        order = np.take_along_axis(keys, best, axis=1).argsort(axis=1)
        best = np.take_along_axis(best, order, axis=1)
        removed = np.take_along_axis(scores, best, axis=1) <= _REMOVED
        ranked = np.full((len(scores), k), -1, dtype=np.int32)
        ranked[:, :width] = np.where(removed, -1, best)
        return ranked
