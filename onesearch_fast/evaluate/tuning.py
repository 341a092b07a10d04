"""Choosing the few parameters of a baseline on the cases of the stop group, and on nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from onesearch_fast.data.split import EvalCase
from onesearch_fast.evaluate.metrics import FloatArray
from onesearch_fast.evaluate.ranking import (
    DenseRanker,
    Scorer,
    Scores,
    TieOrder,
    chunks,
    target_ndcgs,
)

if TYPE_CHECKING:
    from onesearch_fast.evaluate.baselines import BaselineContext

TUNING_K = 10


def mean_ndcgs(
    cases: Sequence[EvalCase],
    ties: TieOrder,
    score_all: Callable[[Sequence[EvalCase]], Iterable[Scores]],
) -> FloatArray:
    """Mean NDCG@10 of several scorers, which share what they compute for a chunk of cases.

    Args:
        score_all: cases -> one `Scores` per candidate, always in the same order.

    Returns:
        float64 [num_candidates]; without cases, zeros of one candidate.
    """
    totals: FloatArray = np.zeros(1)
    for _, chunk in chunks(cases, ties.num_items):
        sums = [target_ndcgs(scores, ties, chunk, TUNING_K).sum() for scores in score_all(chunk)]
        totals = totals + np.array(sums)
    return totals / max(1, len(cases))


def tuned_sum(
    name: str,
    context: BaselineContext,
    parts: Callable[[Sequence[EvalCase]], Sequence[npt.NDArray[np.float32]]],
    weights: Sequence[Sequence[float]],
    in_category: bool = True,
) -> WeightedSum:
    """The weighted sum of scores, with the weights that give the best NDCG@10 on the stop group.

    Args:
        parts: cases -> one float32 [num_cases, num_items] for each weight of a candidate.
        weights: candidates; the first wins ties, and stands when there is no stop group.
        in_category: whether items of the case's category come before all others.
    """

    def tiers(cases: Sequence[EvalCase]) -> npt.NDArray[np.uint8] | None:
        return context.category_tiers(cases) if in_category else None

    def score_all(cases: Sequence[EvalCase]) -> Iterator[Scores]:
        arrays, tier = parts(cases), tiers(cases)
        return (Scores(_weighted(arrays, candidate), tier) for candidate in weights)

    ndcgs = mean_ndcgs(context.stop_cases, context.ties, score_all)
    chosen = tuple(weights[int(np.argmax(ndcgs))])
    return WeightedSum(
        name,
        context.ties,
        lambda cases: Scores(_weighted(parts(cases), chosen), tiers(cases)),
        chosen,
    )


class WeightedSum(DenseRanker):
    """A dense ranker that remembers its chosen weights."""

    def __init__(
        self, name: str, ties: TieOrder, score: Scorer, weights: tuple[float, ...]
    ) -> None:
        super().__init__(name, ties, score)
        self.weights = weights


def _weighted(
    arrays: Sequence[npt.NDArray[np.float32]], weights: Sequence[float]
) -> npt.NDArray[np.float32]:
    total = np.zeros(arrays[0].shape, dtype=np.float32)
    for array, weight in zip(arrays, weights, strict=True):
        if weight:
            total += np.float32(weight) * array
    return total
