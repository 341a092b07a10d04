"""R-Drop: two passes that differ in their dropout should predict alike."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from onesearch_fast.errors import invalid
from onesearch_fast.train.losses.divergence import kl_divergence


@dataclass(frozen=True)
class RDrop:
    """weight (KL(P1 || P2) + KL(P2 || P1)) / 2 of the predictions P1, P2 of each label.

    Source: Liang et al. 2021, arXiv 2106.14448.
    """

    weight: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.weight < math.inf:
            raise invalid("RDrop", "weight", "more than 0", self.weight)

    def __call__(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        """Log-probabilities [labels, vocabulary] of both passes -> [labels]."""
        both = kl_divergence(first, second) + kl_divergence(second, first)
        return 0.5 * self.weight * both
