"""Personalised search without a model: history item-kNN and popularity in the query's category."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from onesearch_fast.data.split import SEARCH, EvalCase, TrainLog
from onesearch_fast.evaluate.baselines import Baseline, BaselineContext
from onesearch_fast.evaluate.ranking import Ranker
from onesearch_fast.evaluate.tuning import tuned_sum

POPULARITY_WEIGHTS = (0.3, 0.0, 0.03, 0.1, 1.0, 3.0)


def fit(log: TrainLog, context: BaselineContext) -> Ranker:
    """score = kNN + w log(1 + popularity) / log(1 + largest popularity), inside the category; w is
    chosen on the stop group."""
    popularity = relative_popularity(context)

    def parts(cases: Sequence[EvalCase]) -> list[npt.NDArray[np.float32]]:
        knn = context.similarity.history_scores(cases)
        return [knn, np.broadcast_to(popularity, knn.shape)]

    weights = [(1.0, weight) for weight in POPULARITY_WEIGHTS]
    return tuned_sum(BASELINE.name, context, parts, weights)


def relative_popularity(context: BaselineContext) -> npt.NDArray[np.float32]:
    """float32 [num_items] in [0, 1]: log popularity relative to the most popular item."""
    logs = np.log1p(context.popularity)
    return np.asarray(logs / max(1.0, logs.max()), dtype=np.float32)


BASELINE = Baseline("item_knn_category", (SEARCH,), fit)
