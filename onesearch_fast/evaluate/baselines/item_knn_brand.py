"""`item_knn_category` and how much of the history is of the item's brand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from onesearch_fast.data.split import SEARCH, EvalCase, TrainLog
from onesearch_fast.evaluate.baselines import Baseline, BaselineContext
from onesearch_fast.evaluate.baselines.item_knn_category import (
    POPULARITY_WEIGHTS,
    relative_popularity,
)
from onesearch_fast.evaluate.ranking import Ranker
from onesearch_fast.evaluate.tuning import tuned_sum

BRAND_WEIGHTS = (0.3, 0.0, 0.03, 0.1, 1.0, 3.0)


def fit(log: TrainLog, context: BaselineContext) -> Ranker:
    """score = kNN + w_p relative popularity + w_b sum over the history of 0.7^age [same brand],
    inside the query's category; both weights are chosen on the stop group."""
    popularity = relative_popularity(context)

    def parts(cases: Sequence[EvalCase]) -> list[npt.NDArray[np.float32]]:
        knn = context.similarity.history_scores(cases)
        brand = context.brand_match.history_scores(cases)
        return [knn, np.broadcast_to(popularity, knn.shape), brand]

    weights = [(1.0, p, b) for p in POPULARITY_WEIGHTS for b in BRAND_WEIGHTS]
    return tuned_sum(BASELINE.name, context, parts, weights)


BASELINE = Baseline("item_knn_brand", (SEARCH,), fit)
