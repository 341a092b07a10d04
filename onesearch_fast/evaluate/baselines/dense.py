"""Cosine of text embeddings: query and item, or the mean of the last items and item."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from onesearch_fast.data.records import item_text
from onesearch_fast.data.split import NEXT_ITEM, SEARCH, EvalCase, TrainLog
from onesearch_fast.evaluate.baselines import Baseline, BaselineContext
from onesearch_fast.evaluate.ranking import DenseRanker, Ranker, Scores
from onesearch_fast.evaluate.tuning import mean_ndcgs

Vectors = npt.NDArray[np.float32]

HISTORY_LENGTHS = (5, 1, 2, 3, 10)


def fit(log: TrainLog, context: BaselineContext) -> Ranker:
    """Search: cosine of query and item text. Next item: of the mean of the last n items and item
    text, n chosen on the stop group; without a history all items tie."""
    encoder = context.text_encoder
    assert encoder is not None  # the context refuses before
    items = encoder.encode([item_text(item) for item in log.items])
    asked = _queries(encoder.encode) if context.task == SEARCH else _histories(items, context)

    def score(cases: Sequence[EvalCase]) -> Scores:
        return Scores(asked(cases) @ items.T)

    return DenseRanker(BASELINE.name, context.ties, score)


def _queries(
    encode: Callable[[Sequence[str]], Vectors],
) -> Callable[[Sequence[EvalCase]], Vectors]:
    known: dict[str, Vectors] = {}

    def vectors(cases: Sequence[EvalCase]) -> Vectors:
        queries = [case.query or "" for case in cases]
        fresh = [query for query in dict.fromkeys(queries) if query not in known]
        if fresh:
            known.update(zip(fresh, encode(fresh), strict=True))
        return np.stack([known[query] for query in queries])

    return vectors


def _histories(items: Vectors, context: BaselineContext) -> Callable[[Sequence[EvalCase]], Vectors]:
    def score_all(cases: Sequence[EvalCase]) -> list[Scores]:
        return [Scores(_mean_of_last(cases, items, n) @ items.T) for n in HISTORY_LENGTHS]

    ndcgs = mean_ndcgs(context.stop_cases, context.ties, score_all)
    length = HISTORY_LENGTHS[int(np.argmax(ndcgs))]
    return lambda cases: _mean_of_last(cases, items, length)


def _mean_of_last(cases: Sequence[EvalCase], items: Vectors, length: int) -> Vectors:
    """Sums, not means: the order of one case's scores is the same."""
    sums = np.zeros((len(cases), items.shape[1]), dtype=np.float32)
    for index, case in enumerate(cases):
        rows = [event.row for event in case.history[-length:]]
        sums[index] = items[rows].sum(axis=0)
    return sums


BASELINE = Baseline("dense", (SEARCH, NEXT_ITEM), fit, needs="text_encoder")
