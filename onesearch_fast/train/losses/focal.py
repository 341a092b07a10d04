"""Focal loss: labels that are predicted well already count less."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from onesearch_fast.errors import invalid


@dataclass(frozen=True)
class Focal:
    """alpha (1 - p)^gamma (-log p), in place of the cross-entropy -log p of each label.

    gamma is 0 or at least 1: between them the gradient has no bound where p is 1.
    Source: Lin et al. 2017, arXiv 1708.02002; the values of OneSearch-V2, arXiv 2603.24422.
    """

    gamma: float = 3.0
    alpha: float = 2.0

    def __post_init__(self) -> None:
        if self.gamma != 0 and not 1 <= self.gamma < math.inf:
            raise invalid("Focal", "gamma", "0, or at least 1", self.gamma)
        if not 0 < self.alpha < math.inf:
            raise invalid("Focal", "alpha", "more than 0", self.alpha)

    def __call__(self, label_log_probs: torch.Tensor) -> torch.Tensor:
        """log p of each label, any shape -> the loss of each label."""
        missed = -torch.expm1(label_log_probs)
        return -self.alpha * missed.pow(self.gamma) * label_log_probs
