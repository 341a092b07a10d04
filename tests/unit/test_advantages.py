"""Advantages and preference losses against numbers worked out by hand and naive loops."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.autograd import gradcheck

from onesearch_fast.train.advantages import (
    group_advantages,
    level_weights,
    shared_prefix,
    tpma_advantages,
)
from onesearch_fast.train.losses.list_wise_dpo import ListWiseDpo
from onesearch_fast.train.losses.policy_gradient import policy_gradient, reference_kl

TARGET = [1, 2, 3, 4, 5]
# Right; wrong in the last, the second, the first code.
GROUP = torch.tensor([[TARGET, [1, 2, 3, 4, 0], [1, 0, 3, 4, 5], [0, 2, 3, 4, 5]]])
ONE = torch.tensor([[TARGET]])


def test_group_advantages_by_hand():
    assert group_advantages(torch.tensor([[1.0, 3.0]])).tolist() == [[-1.0, 1.0]]
    # mean 2, deviation sqrt(2)
    got = group_advantages(torch.tensor([[0.0, 2.0, 2.0, 4.0]]))
    assert got[0].tolist() == pytest.approx([-math.sqrt(2), 0, 0, math.sqrt(2)])


@pytest.mark.parametrize("rewards", [[[0.0]], [[7.0]], [[0.0] * 5], [[0.1] * 7], [[1e30] * 3]])
def test_a_group_without_spread_tells_nothing(rewards):
    assert not group_advantages(torch.tensor(rewards)).any()


def test_rewards_that_hardly_differ_tell_little():
    """Two items of one tier whose click rates are a hundredth apart."""
    got = group_advantages(torch.tensor([[3.33, 3.31]], dtype=torch.float64), least_spread=0.25)
    assert got[0].tolist() == pytest.approx([0.04, -0.04])
    far = torch.tensor([[0.3, 3.3]])
    assert torch.equal(group_advantages(far, least_spread=0.25), group_advantages(far))


def test_the_shared_prefix_is_of_one_target():
    two = torch.tensor([[[1, 2, 9, 9, 9], [1, 8, 3, 4, 5]]])
    mixed = torch.tensor([[[1, 2, 3, 4, 5]]])
    assert shared_prefix(mixed, two)[0, 0].tolist() == [True, True, False, False, False]


def test_level_weights():
    assert level_weights(5).tolist() == [2, 2, 2, 1, 1]
    assert level_weights(2).tolist() == [2, 2]


def test_tpma_by_hand():
    got = tpma_advantages(GROUP, ONE)[0]
    third, root3 = 1 / math.sqrt(3), math.sqrt(3)
    # Normalised by level, and then the weights 2, 2, 2, 1, 1.
    # Level 1: right, right, right, wrong: (1 - 3/4) / (sqrt(3)/4) and -sqrt(3).
    # Level 2: two of four right; the fourth rollout is behind a wrong code, so its gate is shut.
    # Level 5: only the first is right, the second alone is blamed for it.
    expected = [
        [2 * third, 2.0, 2.0, 1.0, root3],
        [2 * third, 2.0, 2.0, 1.0, -third],
        [2 * third, -2.0, 0.0, 0.0, 0.0],
        [-2 * root3, 0.0, 0.0, 0.0, 0.0],
    ]
    for row, want in zip(got.tolist(), expected, strict=True):
        assert row == pytest.approx(want, abs=1e-6)


def test_the_last_code_counts():
    right, nearly = tpma_advantages(GROUP, ONE)[0][:2]
    assert right[-1] > 0 > nearly[-1]


def test_the_item_advantage_is_gated_too():
    rewards = torch.tensor([[4.0, 0.0, 0.0, 0.0]])
    with_item = tpma_advantages(GROUP, ONE, rewards, item_weight=0.5)
    without = tpma_advantages(GROUP, ONE)
    added = (with_item - without)[0]
    item = group_advantages(rewards)[0]
    assert added[0].tolist() == pytest.approx([0.5 * item[0].item()] * 5)
    assert added[3].tolist() == pytest.approx([0.5 * item[3].item(), 0, 0, 0, 0])


def test_the_released_gate_counts_right_codes_wherever_they_stand():
    gates = tpma_advantages(GROUP, ONE, torch.tensor([[0.0, 0, 0, 4]]), 1.0, cumulative_gate=True)
    plain = tpma_advantages(GROUP, ONE, cumulative_gate=True)
    added = (gates - plain)[0, 3] / group_advantages(torch.tensor([[0.0, 0, 0, 4]]))[0, 3]
    assert added.tolist() == pytest.approx([1, 0, 1 / 2, 2 / 3, 3 / 4])


def naive_tpma(rollouts, targets):
    levels = len(rollouts[0])
    weights = [2, 2, 2, 1, 1][:levels]

    def shares(rollout, count):
        return any(rollout[:count] == target[:count] for target in targets)

    values = [[0.0] * levels for _ in rollouts]
    for level in range(levels):
        marginal = [shares(one, level + 1) for one in rollouts]
        mean = sum(marginal) / len(marginal)
        spread = math.sqrt(sum((m - mean) ** 2 for m in marginal) / len(marginal))
        for number, one in enumerate(rollouts):
            gate = level == 0 or shares(one, level)
            told = weights[level] * (marginal[number] - mean) / spread if spread else 0.0
            values[number][level] = gate * told
    return values


CODES = st.lists(st.integers(0, 1), min_size=5, max_size=5)


@given(st.lists(CODES, min_size=1, max_size=6), st.lists(CODES, min_size=1, max_size=3))
def test_tpma_against_the_definition(rollouts, targets):
    got = tpma_advantages(torch.tensor([rollouts]), torch.tensor([targets]))[0]
    for row, want in zip(got.tolist(), naive_tpma(rollouts, targets), strict=True):
        assert row == pytest.approx(want, abs=1e-5)


def test_absent_targets_match_nothing():
    none = torch.full((1, 2, 5), -1)
    assert not tpma_advantages(GROUP, none).any()
    both = torch.cat([ONE, none], dim=1)
    assert torch.equal(tpma_advantages(GROUP, both), tpma_advantages(GROUP, ONE))


def test_policy_gradient_by_hand():
    new, old = torch.tensor([math.log(0.5)]), torch.tensor([math.log(0.25)])
    assert policy_gradient(new, old, torch.tensor([3.0])).item() == pytest.approx(-6.0)


def test_the_gradient_on_policy_is_that_of_the_log_probability():
    log_probs = torch.tensor([-1.0, -2.0], requires_grad=True)
    policy_gradient(log_probs, log_probs.detach(), torch.tensor([2.0, -1.0])).sum().backward()
    assert log_probs.grad.tolist() == [-2.0, 1.0]


def test_reference_kl_by_hand():
    half, quarter = torch.tensor([math.log(0.5)]), torch.tensor([math.log(0.25)])
    assert reference_kl(half, quarter).item() == pytest.approx(0.5 - math.log(0.5) - 1)
    assert reference_kl(half, half).item() == 0


def dpo_inputs(rows: int = 2, rejected: int = 3):
    generator = torch.Generator().manual_seed(0)
    log_probs, reference = (
        -torch.rand(rows, 1 + rejected, generator=generator, dtype=torch.float64) for _ in range(2)
    )
    weights = torch.rand(rows, rejected, generator=generator, dtype=torch.float64)
    return log_probs.requires_grad_(), reference, weights


def test_dpo_by_hand():
    """At the start every ratio is 1: -log sigma(-log N), and N = 1 is the plain DPO's log 2."""
    equal = torch.full((1, 4), -2.0)
    everything = torch.ones(1, 3, dtype=torch.bool)
    loss = ListWiseDpo(sft=0.0)(equal, equal, torch.ones(1, 3), everything)
    assert loss.item() == pytest.approx(math.log(1 + 3))
    plain = ListWiseDpo(sft=0.0)(equal[:, :2], equal[:, :2], torch.ones(1, 1), everything[:, :1])
    assert plain.item() == pytest.approx(math.log(2))


def test_dpo_against_the_definition():
    log_probs, reference, weights = dpo_inputs()
    loss = ListWiseDpo(beta=0.7, margin=0.3, sft=0.2)
    got = loss(log_probs, reference, weights, torch.ones(2, 3, dtype=torch.bool))
    for row in range(2):
        r = [0.7 * (log_probs[row, i] - reference[row, i]).item() for i in range(4)]
        total = sum(math.exp(weights[row, i].item() * (r[1 + i] - r[0] + 0.3)) for i in range(3))
        want = -math.log(1 / (1 + math.exp(math.log(total)))) - 0.2 * log_probs[row, 0].item()
        assert got[row].item() == pytest.approx(want)


def test_dpo_gradient():
    log_probs, reference, weights = dpo_inputs()
    mask = torch.tensor([[True, True, True], [True, False, False]])
    assert gradcheck(lambda x: ListWiseDpo()(x, reference, weights, mask), (log_probs,))


def test_dpo_weights_are_finite_for_every_pair():
    chosen = torch.tensor([2.0, 0.0])
    rejected = torch.tensor([[0.0, 2.0], [1.0, 0.0]])
    weights = ListWiseDpo(least_gap=0.5).weights(chosen, rejected)
    assert weights.tolist() == [[0.5, 2.0], [2.0, 2.0]]


def test_dpo_tells_the_pairs_of_a_click_apart():
    """An item's quality is at most 0.5: click 1.0 against shown 0.5, alike 0.2 and other 0.0."""
    quality = 0.5
    levels = quality * torch.tensor([[0.5, 0.2, 0.0]])
    weights = ListWiseDpo().weights(torch.tensor([quality]), levels)
    assert weights[0].tolist() == pytest.approx([4.0, 2.5, 2.0])


def test_dpo_is_finite_when_far_off_and_without_rejected():
    far = torch.tensor([[-1e4, -1.0], [-1.0, -1e4]], requires_grad=True)
    nobody = torch.tensor([[True], [False]])
    loss = ListWiseDpo(beta=10.0)(far, torch.zeros(2, 2), torch.ones(2, 1), nobody)
    loss.sum().backward()
    assert torch.isfinite(loss).all() and torch.isfinite(far.grad).all()
    assert loss[1].item() == pytest.approx(0.1)
