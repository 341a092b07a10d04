"""Popularity inside the category that the query means (next item: the last event's category)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from onesearch_fast.data.split import NEXT_ITEM, SEARCH, EvalCase, TrainLog
from onesearch_fast.evaluate.baselines import Baseline, BaselineContext
from onesearch_fast.evaluate.ranking import DenseRanker, Ranker, Scores


def fit(log: TrainLog, context: BaselineContext) -> Ranker:
    """Items on the category's path first, then those below it, then all others; by popularity."""
    popularity = context.popularity.astype(np.float32)

    def score(cases: Sequence[EvalCase]) -> Scores:
        values = np.broadcast_to(popularity, (len(cases), len(popularity)))
        return Scores(values, context.category_tiers(cases))

    return DenseRanker(BASELINE.name, context.ties, score)


BASELINE = Baseline("popularity_in_category", (SEARCH, NEXT_ITEM), fit)
