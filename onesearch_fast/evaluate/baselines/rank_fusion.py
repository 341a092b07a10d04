"""Weighted reciprocal-rank fusion of other baselines."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
import numpy.typing as npt

from onesearch_fast.data.split import NEXT_ITEM, SEARCH, EvalCase, TrainLog
from onesearch_fast.evaluate.baselines import Baseline, BaselineContext
from onesearch_fast.evaluate.ranking import Ranker
from onesearch_fast.evaluate.tuning import tuned_sum

PARTS = {
    SEARCH: ("bm25", "dense", "item_knn", "popularity_in_category"),
    NEXT_ITEM: ("item_knn", "dense", "popularity_in_category"),
}
DEPTH = 200
RANK_OFFSET = 60.0

WEIGHTS = (1.0, 0.3, 0.0)


def fit(log: TrainLog, context: BaselineContext) -> Ranker:
    """score = sum over the parts of w / (60 + rank in the part's first 200), the weights chosen on
    the stop group. Source: Cormack, Clarke and Büttcher 2009."""
    rankers = [context.ranker(name) for name in PARTS[context.task]]

    def parts(cases: Sequence[EvalCase]) -> list[npt.NDArray[np.float32]]:
        return [_reciprocal_ranks(ranker, cases, len(log.items)) for ranker in rankers]

    # Only the ratios of weights matter, so the largest one is 1. Equal weights come first: they
    # stand when there is nothing to choose on.
    candidates = [w for w in product(WEIGHTS, repeat=len(rankers)) if max(w) == max(WEIGHTS)]
    return tuned_sum(BASELINE.name, context, parts, candidates, in_category=False)


def _reciprocal_ranks(
    ranker: Ranker, cases: Sequence[EvalCase], num_items: int
) -> npt.NDArray[np.float32]:
    ranked = ranker.rank(cases, min(DEPTH, num_items))
    values = np.zeros((len(cases), num_items + 1), dtype=np.float32)
    reciprocal = 1.0 / (RANK_OFFSET + np.arange(1, ranked.shape[1] + 1))
    np.put_along_axis(values, ranked.astype(np.int64), reciprocal[None, :], axis=1)
    return values[:, :num_items]  # padding (-1) went to the extra last column


BASELINE = Baseline("rank_fusion", (SEARCH, NEXT_ITEM), fit, needs="text_encoder")
