"""Item-item similarity from who interacted with what, and what a history says about each item."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import sparse

from onesearch_fast.data.records import Item
from onesearch_fast.data.split import EvalCase, TrainLog

RECENCY_DECAY = 0.7

# Pairs grow with the square of a history, so only its end counts (0.7^50 is 2e-8).
MAX_LOG_EVENTS = 200
MAX_CASE_EVENTS = 50


class ItemSimilarity:
    """Cosine of two items' sets of users.

        sim(i, j) = |users(i) & users(j)| / sqrt(|users(i)| |users(j)|),   sim(i, i) = 0

    over the last 200 events of each user. Source: Deshpande and Karypis 2004.
    """

    def __init__(self, log: TrainLog) -> None:
        num_items = len(log.items)
        rows = [
            sorted({event.row for event in history.events[-MAX_LOG_EVENTS:]})
            for history in log.histories
        ]
        users = _indicator(rows, num_items)
        degree = np.asarray(users.sum(axis=0)).ravel()
        scale = sparse.diags_array(1.0 / np.sqrt(np.maximum(degree, 1.0)))
        similarity = (scale @ (users.T @ users) @ scale).tocsr()
        similarity.setdiag(0.0)
        similarity.eliminate_zeros()
        self.matrix = similarity.astype(np.float32)

    def history_scores(self, cases: Sequence[EvalCase]) -> npt.NDArray[np.float32]:
        """float32 [num_cases, num_items]: sum over the history of 0.7^age sim(event, item).

        The last event has age 0.
        """
        history = history_weights(cases, self.matrix.shape[0])
        return np.asarray((history @ self.matrix).toarray(), dtype=np.float32)


class BrandMatch:
    """How much of a history, by recency, is of an item's brand."""

    def __init__(self, items: Sequence[Item]) -> None:
        brands = sorted({item.brand for item in items if item.brand})
        number = {brand: place for place, brand in enumerate(brands)}
        self._num_items = len(items)
        self._brand = np.array([number.get(i.brand or "", len(brands)) for i in items])
        self._one_hot = _indicator([[b] for b in self._brand], len(brands) + 1)

    def history_scores(self, cases: Sequence[EvalCase]) -> npt.NDArray[np.float32]:
        """float32 [num_cases, num_items]: sum over the history of 0.7^age [same brand]; items
        without a brand get 0."""
        weights = (history_weights(cases, self._num_items) @ self._one_hot).toarray()
        weights[:, -1] = 0.0
        return np.asarray(weights[:, self._brand], dtype=np.float32)


def history_weights(cases: Sequence[EvalCase], num_items: int) -> sparse.csr_array:
    """Sparse [num_cases, num_items]: 0.7^age of the last 50 events of each history, by item."""
    recent = [case.history[-MAX_CASE_EVENTS:] for case in cases]
    lengths = [len(events) for events in recent]
    row = np.repeat(np.arange(len(cases)), lengths)
    column = np.array([event.row for events in recent for event in events], dtype=np.int64)
    age = [length - 1 - place for length in lengths for place in range(length)]
    weight = np.power(RECENCY_DECAY, np.array(age, dtype=np.float64))
    return sparse.csr_array((weight, (row, column)), shape=(len(cases), num_items))


def _indicator(columns: Sequence[Sequence[int]], width: int) -> sparse.csr_array:
    """Sparse 0/1 [len(columns), width] with ones at the given columns of each row."""
    row = np.repeat(np.arange(len(columns)), [len(one) for one in columns])
    column = np.array([place for one in columns for place in one], dtype=np.int64)
    ones = np.ones(len(column), dtype=np.float64)
    return sparse.csr_array((ones, (row, column)), shape=(len(columns), width))
