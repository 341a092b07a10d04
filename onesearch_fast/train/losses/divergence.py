"""KL divergence between predictions, which distillation and R-Drop are made of."""

from __future__ import annotations

import torch


def kl_divergence(log_p: torch.Tensor, log_q: torch.Tensor) -> torch.Tensor:
    """sum_v p(v) (log p(v) - log q(v)): [..., vocabulary] -> [...], in nats."""
    return torch.nn.functional.kl_div(log_q, log_p, reduction="none", log_target=True).sum(-1)
