"""The same list for everyone: items by their number of clicks and orders."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from onesearch_fast.data.split import NEXT_ITEM, SEARCH, EvalCase, TrainLog
from onesearch_fast.evaluate.baselines import Baseline, BaselineContext
from onesearch_fast.evaluate.ranking import DenseRanker, Ranker, Scores


def fit(log: TrainLog, context: BaselineContext) -> Ranker:
    popularity = context.popularity.astype(np.float32)

    def score(cases: Sequence[EvalCase]) -> Scores:
        return Scores(np.broadcast_to(popularity, (len(cases), len(popularity))))

    return DenseRanker(BASELINE.name, context.ties, score)


BASELINE = Baseline("popularity", (SEARCH, NEXT_ITEM), fit)
