"""Items whose users are those of the history's items; in search, inside the query's category."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from onesearch_fast.data.split import NEXT_ITEM, SEARCH, EvalCase, TrainLog
from onesearch_fast.evaluate.baselines import Baseline, BaselineContext
from onesearch_fast.evaluate.ranking import DenseRanker, Ranker, Scores

# Small enough to decide only between items which the history does not tell apart.
_POPULARITY_TIE_BREAK = 1e-6


def fit(log: TrainLog, context: BaselineContext) -> Ranker:
    """score = sum over the history of 0.7^age cosine(event, item); equal scores by popularity."""
    similarity = context.similarity
    tie_break = _POPULARITY_TIE_BREAK * context.popularity / max(1.0, context.popularity.max())

    def score(cases: Sequence[EvalCase]) -> Scores:
        values = similarity.history_scores(cases) + tie_break.astype(np.float32)
        return Scores(values, context.category_tiers(cases) if context.task == SEARCH else None)

    return DenseRanker(BASELINE.name, context.ties, score)


BASELINE = Baseline("item_knn", (SEARCH, NEXT_ITEM), fit)
