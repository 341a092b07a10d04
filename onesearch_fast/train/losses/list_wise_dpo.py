"""List-wise DPO: one chosen SID against many rejected ones."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from onesearch_fast.errors import invalid


@dataclass(frozen=True)
class ListWiseDpo:
    """-log sigma(-log sum_l exp(w_l (r_l - r_chosen + margin))) - sft log pi(chosen)

    with r = beta (log pi - log pi_ref) and l over the rejected. It is the S-DPO form; the printed
    one of OneSearch takes max(0, .) inside, which has no gradient at the start, where every r is 0.
    w_l = 1 / max(reward gap, least_gap) is finite for every input; a click's reward is at most 0.5,
    so a larger least_gap would weigh all of its pairs alike.
    Sources: Chen et al. 2024, arXiv 2406.09215; OneSearch, arXiv 2509.03236, section 3.4.
    """

    beta: float = 0.1
    margin: float = 0.0
    sft: float = 0.1
    least_gap: float = 0.1

    def __post_init__(self) -> None:
        for name in ("beta", "least_gap"):
            if not 0 < getattr(self, name) < math.inf:
                raise invalid("ListWiseDpo", name, "more than 0", getattr(self, name))
        for name in ("margin", "sft"):
            if not 0 <= getattr(self, name) < math.inf:
                raise invalid("ListWiseDpo", name, "at least 0", getattr(self, name))

    def weights(self, chosen: torch.Tensor, rejected: torch.Tensor) -> torch.Tensor:
        """Rewards [rows] and [rows, rejected] -> the weight of each pair [rows, rejected]."""
        return 1.0 / (chosen[:, None] - rejected).clamp_min(self.least_gap)

    def __call__(
        self,
        log_probs: torch.Tensor,
        reference: torch.Tensor,
        weights: torch.Tensor,
        is_rejected: torch.Tensor,
    ) -> torch.Tensor:
        """The loss of each row, [rows].

        Args:
            log_probs, reference: [rows, 1 + rejected], of whole SIDs, the chosen one first.
            weights: [rows, rejected].
            is_rejected: bool [rows, rejected]; False where a row has fewer. A row without any
                keeps the loss of its chosen SID alone.
        """
        implicit = self.beta * (log_probs - reference)
        gaps = weights * (implicit[:, 1:] - implicit[:, :1] + self.margin)
        lost = gaps.masked_fill(~is_rejected, -math.inf).logsumexp(dim=1)
        preference = torch.nn.functional.softplus(lost)
        return preference - self.sft * log_probs[:, 0]
