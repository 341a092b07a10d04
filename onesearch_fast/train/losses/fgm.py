"""FGM: the loss at the worst small change of the token embeddings."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from onesearch_fast.errors import invalid


@dataclass(frozen=True)
class Fgm:
    """Adds the loss at e + epsilon g / ||g||: e a row's token embeddings, g their gradient.

    g is that of the whole clean loss, which its own backward pass leaves behind for nothing.
    Source: Miyato et al. 2017, arXiv 1605.07725.
    """

    epsilon: float = 0.6

    def __post_init__(self) -> None:
        if not 0 < self.epsilon < math.inf:
            raise invalid("Fgm", "epsilon", "more than 0", self.epsilon)

    def perturbation(self, gradient: torch.Tensor) -> torch.Tensor:
        """[rows, tokens, width] -> the same, of norm epsilon per row; 0 where the gradient is 0."""
        norm = gradient.flatten(1).norm(dim=1)[:, None, None]
        unit = gradient / norm.where(norm > 0, 1.0)
        # A gradient that is not finite has no direction: the row stays where it is.
        perturbation: torch.Tensor = self.epsilon * unit.where(norm.isfinite(), 0.0)
        return perturbation
