"""Every loss against numbers worked out by hand, a naive implementation, and its gradient."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.autograd import gradcheck

from onesearch_fast.train.losses.distillation import Distillation
from onesearch_fast.train.losses.divergence import kl_divergence
from onesearch_fast.train.losses.fgm import Fgm
from onesearch_fast.train.losses.focal import Focal
from onesearch_fast.train.losses.r_drop import RDrop

HALF, QUARTER = math.log(0.5), math.log(0.25)
EVEN = torch.tensor([[HALF, HALF]])
SKEWED = torch.tensor([[QUARTER, math.log(0.75)]])


def logits(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64, requires_grad=True)


def naive_kl(p: list[float], q: list[float]) -> float:
    return sum(one * (math.log(one) - math.log(other)) for one, other in zip(p, q, strict=True))


def test_kl_by_hand():
    # 1/2 ln(1/2 : 1/4) + 1/2 ln(1/2 : 3/4) = 1/2 ln(4/3)
    assert kl_divergence(EVEN, SKEWED).item() == pytest.approx(0.5 * math.log(4 / 3))
    assert kl_divergence(EVEN, EVEN).item() == 0


def test_focal_by_hand():
    # 2 (1 - 1/2)^3 ln 2 and 2 (3/4)^3 ln 4
    got = Focal()(torch.tensor([HALF, QUARTER]))
    assert got.tolist() == pytest.approx([0.25 * math.log(2), 2 * 27 / 64 * math.log(4)])


def test_focal_without_focus_is_the_cross_entropy():
    log_probs = torch.tensor([-0.1, -3.0, -20.0])
    assert torch.equal(Focal(gamma=0.0, alpha=1.0)(log_probs), -log_probs)


def test_focal_is_finite_at_certainty_and_at_despair():
    log_probs = torch.tensor([0.0, -1e-12, -200.0], requires_grad=True)
    losses = Focal()(log_probs)
    losses.sum().backward()
    assert torch.isfinite(losses).all() and torch.isfinite(log_probs.grad).all()
    assert losses[0] == 0


def test_r_drop_by_hand():
    # 1/2 [1/2 ln(4/3) + 1/4 ln(1/2) + 3/4 ln(3/2)] of weight 1/2
    other_way = 0.25 * math.log(0.5) + 0.75 * math.log(1.5)
    expected = 0.5 * 0.5 * (0.5 * math.log(4 / 3) + other_way)
    assert RDrop()(EVEN, SKEWED).item() == pytest.approx(expected)
    assert RDrop()(SKEWED, EVEN).item() == pytest.approx(expected)


def test_distillation_by_hand():
    assert Distillation()(SKEWED, EVEN).item() == pytest.approx(0.1 * 0.5 * math.log(4 / 3))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_distillation_against_the_definition(temperature):
    student, teacher = logits(4, 7), logits(4, 7, seed=1)
    got = Distillation(weight=0.3, temperature=temperature)(student, teacher)
    for row in range(4):
        p = torch.softmax(teacher[row] / temperature, 0).tolist()
        q = torch.softmax(student[row] / temperature, 0).tolist()
        assert got[row].item() == pytest.approx(0.3 * temperature**2 * naive_kl(p, q))


def test_distillation_sends_no_gradient_to_its_teacher():
    student, teacher = logits(2, 3, 5), logits(3, 5, seed=1)
    Distillation()(student, teacher).sum().backward()
    assert teacher.grad is None and student.grad.abs().sum() > 0


def test_gradients():
    one, other = logits(3, 5), logits(3, 5, seed=1)
    assert gradcheck(lambda x: Focal()(x.log_softmax(-1)), (one,))
    assert gradcheck(lambda x, y: RDrop()(x.log_softmax(-1), y.log_softmax(-1)), (one, other))
    assert gradcheck(lambda x: Distillation(temperature=2.0)(x, other), (one,))


def test_fgm_by_hand():
    gradient = torch.tensor([[[3.0, 0.0], [0.0, 4.0]], [[0.0, 0.0], [0.0, 0.0]]])
    moved = Fgm(epsilon=0.5).perturbation(gradient)
    assert moved[0].flatten().tolist() == pytest.approx([0.3, 0.0, 0.0, 0.4])
    assert not moved[1].any()


def test_fgm_leaves_a_row_of_broken_gradients_alone():
    gradient = torch.tensor([[[math.nan]], [[math.inf]], [[2.0]]])
    assert Fgm().perturbation(gradient).flatten().tolist() == pytest.approx([0.0, 0.0, 0.6])


@given(scale=st.floats(1e-20, 1e20), seed=st.integers(0, 9))
def test_fgm_has_its_norm_whatever_the_gradient(scale, seed):
    moved = Fgm().perturbation(scale * logits(2, 3, 4, seed=seed).detach())
    assert moved.flatten(1).norm(dim=1).tolist() == pytest.approx([0.6, 0.6])


@pytest.mark.parametrize(
    "make",
    [
        lambda: Focal(gamma=0.5),
        lambda: Focal(alpha=0.0),
        lambda: RDrop(weight=-1.0),
        lambda: Fgm(epsilon=math.nan),
        lambda: Distillation(temperature=0.0),
        lambda: Distillation(teacher="other"),
        lambda: Distillation(ema_decay=1.0),
    ],
)
def test_settings_that_make_no_loss_are_refused(make):
    with pytest.raises(ValueError, match="expected"):
        make()
