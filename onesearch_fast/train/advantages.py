"""From the rewards of a group of rollouts to what each token of them is worth.

Shapes: rollouts [prompts, group, levels] of codes, targets [prompts, targets, levels] with -1 in
rows that hold none, rewards [prompts, group]. Everything is finite on every group: a group without
spread has nothing to tell and gets 0.
"""

from __future__ import annotations

import torch

# Weights of OneSearch-V2: three residual levels, then what tells items apart.
_SHARED_LEVELS = 3
_SHARED_WEIGHT, _OWN_WEIGHT = 2.0, 1.0


# Of composite rewards: one of 16 rollouts a tier off. Of items that differ by their click rates
# alone, which are hundredths apart, the spread would make as much as of a hit and a miss.
LEAST_REWARD_SPREAD = 0.25


def group_advantages(
    rewards: torch.Tensor, dim: int = 1, least_spread: float = 0.0
) -> torch.Tensor:
    """(r - mean) / max(std, least_spread) over the group, 0 where all are equal: GRPO.

    Source: Shao et al. 2024, arXiv 2402.03300, with the spread bounded from below.
    """
    centred = rewards - rewards.mean(dim, keepdim=True)
    spread = centred.square().mean(dim, keepdim=True).sqrt()
    # Equal rewards may differ by rounding; that is no spread.
    told = spread > 1e-6 * rewards.abs().amax(dim, keepdim=True).clamp_min(1.0)
    return torch.where(told, centred / spread.where(told, 1.0).clamp_min(least_spread), 0.0)


def shared_prefix(rollouts: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """bool [prompts, group, levels]: whether some one target shares the codes up to this level."""
    alike = rollouts[:, :, None] == targets[:, None]
    return alike.cumprod(dim=-1).any(dim=2)


def level_weights(num_levels: int) -> torch.Tensor:
    """[levels]: 2 for the first three, 1 for the others."""
    weights = torch.full((num_levels,), _OWN_WEIGHT)
    weights[:_SHARED_LEVELS] = _SHARED_WEIGHT
    return weights


def tpma_advantages(
    rollouts: torch.Tensor,
    targets: torch.Tensor,
    item_rewards: torch.Tensor | None = None,
    item_weight: float = 0.0,
    cumulative_gate: bool = False,
) -> torch.Tensor:
    """Gated advantages of every token, float32 [prompts, group, levels].

        A[l] = gate[l] (w[l] normalised over the group (shared[l]) + item_weight A_item)

    shared[l]: one target shares the first l codes; gate[l]: one target shares the first l - 1 of
    them, so that a token behind a wrong prefix is neither praised nor blamed. A_item is the
    advantage of the whole rollout's reward. Source: OneSearch-V2, arXiv 2603.24422, eq. 13 to 18;
    there w weighs rewards, which are normalised level by level, so that it falls out again.

    Args:
        cumulative_gate: the released form, the share of the codes before that are right in some
            target, wherever they stand.
    """
    shared = shared_prefix(rollouts, targets)
    weights = level_weights(rollouts.shape[2]).to(rollouts.device)
    advantages = weights * group_advantages(shared.float())
    if item_rewards is not None and item_weight:
        of_items = group_advantages(item_rewards, least_spread=LEAST_REWARD_SPREAD)
        advantages = advantages + item_weight * of_items[..., None]
    gate = _cumulative_gate(rollouts, targets) if cumulative_gate else _strict_gate(shared)
    return gate * advantages


def _strict_gate(shared: torch.Tensor) -> torch.Tensor:
    open_at_first = torch.ones_like(shared[..., :1])
    return torch.cat([open_at_first, shared[..., :-1]], dim=-1).float()


def _cumulative_gate(rollouts: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    right = (rollouts[:, :, None] == targets[:, None]).cumsum(dim=-1).amax(dim=2).float()
    before = torch.arange(1, rollouts.shape[2], device=rollouts.device)
    return torch.cat([torch.ones_like(right[..., :1]), right[..., :-1] / before], dim=-1)
