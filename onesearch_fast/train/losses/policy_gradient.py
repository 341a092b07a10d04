"""The loss of TPMA-GRPO and GRPO: no clipping, an optional pull to a reference."""

from __future__ import annotations

import torch


def policy_gradient(
    log_probs: torch.Tensor, old_log_probs: torch.Tensor, advantages: torch.Tensor
) -> torch.Tensor:
    """-ratio A of every token, with ratio = exp(log_probs - old_log_probs).

    All tensors [..., levels]; the gates are in the advantages. Source: OneSearch-V2,
    arXiv 2603.24422, eq. 19.
    """
    return -(log_probs - old_log_probs).exp() * advantages


def reference_kl(log_probs: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """exp(d) - d - 1 with d = reference - log_probs: KL(policy || reference), estimated per token.

    Never negative, and 0 where both agree. Source: Schulman 2020, "Approximating KL divergence".
    """
    difference = reference - log_probs
    return torch.expm1(difference) - difference
