"""The reward of a rollout: behaviour + calibrated click rate + relevance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from onesearch_fast.data.split import TrainLog
from onesearch_fast.train.rewards.behaviour import CLICKED, Behaviour
from onesearch_fast.train.rewards.calibration import FloatArray, ItemCounts
from onesearch_fast.train.rewards.relevance import RelevanceModel

ORDER_REWARD, CLICK_REWARD = 4.0, 3.0


class CompositeReward:
    """R(query, item) = (order 4, click 3, nothing 0) + clip(ctr, 0, 1) + relevance (0 to 3)

    Source: OneSearch-V2, arXiv 2603.24422, section 3.4. An item that was never logged has its
    relevance as any other.
    """

    def __init__(self, log: TrainLog, relevance: RelevanceModel) -> None:
        self._ctr = np.clip(ItemCounts.of(log).ctr(), 0.0, 1.0)
        self._relevance = relevance

    def __call__(self, query: str, rows: Sequence[int], wanted: Sequence[Behaviour]) -> FloatArray:
        """float64 [num_rows]; `wanted` is what the user took, `rows` may repeat."""
        taken = {one.row: ORDER_REWARD if one.level > CLICKED else CLICK_REWARD for one in wanted}
        behaviour = np.array([taken.get(row, 0.0) for row in rows])
        distinct, place = np.unique(np.asarray(rows, dtype=np.int64), return_inverse=True)
        tiers = self._relevance.tiers(query, distinct.tolist())[place.reshape(-1)]
        reward: FloatArray = behaviour + self._ctr[np.asarray(rows)] + tiers
        return reward
