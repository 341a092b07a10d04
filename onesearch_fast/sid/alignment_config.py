"""What alignment learns and how, apart from torch: help texts show the defaults."""

from __future__ import annotations

import math
from dataclasses import dataclass

from onesearch_fast.errors import invalid
from onesearch_fast.sid.seeds import check_seed

TASKS = ("query_query", "item_item", "query_item", "order", "relevance")


@dataclass(frozen=True)
class AlignmentConfig:
    """loss = sum over tasks of weights[task] x its loss; a task without examples is left out.

    temperature: of the contrastive losses. margin: of similarity between neighbours in the order
    show < click < order. learning_rate None: 1e-3 for an adapter, 2e-5 for a whole encoder.
    """

    weights: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0, 1.0)
    temperature: float = 0.05
    margin: float = 0.1
    steps: int = 300
    batch_size: int = 256
    learning_rate: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        where = "AlignmentConfig"
        if len(self.weights) != len(TASKS) or not all(0 <= w < math.inf for w in self.weights):
            raise invalid(where, "weights", f"{len(TASKS)} finite numbers >= 0", self.weights)
        if not 0 < self.temperature < math.inf:
            raise invalid(where, "temperature", "a finite number above 0", self.temperature)
        if not 0 <= self.margin < math.inf:
            raise invalid(where, "margin", "a finite number >= 0", self.margin)
        if self.learning_rate is not None and not 0 < self.learning_rate < math.inf:
            raise invalid(where, "learning_rate", "None, or more than 0", self.learning_rate)
        if self.steps < 1 or self.batch_size < 2:
            got = (self.steps, self.batch_size)
            raise invalid(where, "steps, batch_size", "at least 1 and 2", got)
        check_seed(where, self.seed)
