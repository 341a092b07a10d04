"""Branches behind one prompt score as prompt + branch would in a row of its own."""

import numpy as np
import pytest
import torch

from onesearch_fast.testing.random_models import random_model
from onesearch_fast.train.backbones import backbone_of, rows_at

PROMPTS = [[5, 9, 1, 30, 2, 2], [7], [49, 0, 3]]
TARGETS = np.random.default_rng(0).integers(50, 60, (3, 4, 3))


@pytest.mark.parametrize("kind", ["qwen3", "llama", "gpt2", "bart"])
def test_branches_score_as_rows_of_their_own(kind):
    model = random_model(kind, 60).eval()
    model.set_attn_implementation("eager")
    backbone = backbone_of(model, pad_id=0)
    with torch.no_grad():
        got = backbone.branch_log_probs(PROMPTS, TARGETS)
        for row, prompt in enumerate(PROMPTS):
            for branch in range(4):
                alone = backbone.branch_log_probs([prompt], TARGETS[row : row + 1, branch][:, None])
                torch.testing.assert_close(got[row, branch], alone[0, 0], atol=1e-4, rtol=0)
    if kind != "bart":
        ids = torch.tensor([PROMPTS[0] + TARGETS[0, 1].tolist()])
        logits = model(input_ids=ids).logits[0, -4:-1].log_softmax(-1)
        expected = logits.gather(1, ids[0, -3:, None])[:, 0]
        torch.testing.assert_close(got[0, 1], expected.detach(), atol=1e-4, rtol=0)


def test_gradients_of_branches_are_those_of_their_rows():
    model = random_model("qwen3", 60)
    model.set_attn_implementation("eager")
    backbone = backbone_of(model, pad_id=0)
    backbone.branch_log_probs(PROMPTS, TARGETS).sum().backward()
    together = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    for row, prompt in enumerate(PROMPTS):
        for branch in range(4):
            backbone.branch_log_probs(
                [prompt], TARGETS[row : row + 1, branch][:, None]
            ).sum().backward()
    for one, parameter in zip(together, model.parameters(), strict=True):
        torch.testing.assert_close(one, parameter.grad, atol=1e-3, rtol=1e-3)


def test_gradients_of_a_shared_position_have_the_same_bits_each_time():
    hidden = torch.randn(600, 64, generator=torch.Generator().manual_seed(0))
    positions = torch.arange(1500) // 40
    weights = torch.randn(1500, 64, generator=torch.Generator().manual_seed(1))

    def gradient() -> torch.Tensor:
        leaf = hidden.clone().requires_grad_()
        rows_at(leaf, positions).backward(weights)
        return leaf.grad

    first = gradient()
    assert torch.equal(rows_at(hidden, positions), hidden[positions])
    torch.testing.assert_close(first, torch.zeros(600, 64).index_add(0, positions, weights))
    assert all(torch.equal(first, gradient()) for _ in range(50))
