"""Self-distillation: the model with keywords in its prompt teaches the model without them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from onesearch_fast.errors import invalid
from onesearch_fast.train.losses.divergence import kl_divergence

TEACHERS = ("self", "joint", "ema")


@dataclass(frozen=True)
class Distillation:
    """weight tau^2 KL(softmax(teacher / tau) || softmax(student / tau)) of each label.

    It is taken where a label is predicted, so the first code of an SID is covered. The teacher runs
    without dropout, and no gradient passes through its side of the KL.
    Source: OneSearch-V2, arXiv 2603.24422, section 3.3.

    Attributes:
        teacher: "self" (the weights that are trained, without gradient), "joint" (they are trained
            on the teacher's prompt too, by its cross-entropy) or "ema" (their moving average).
        ema_decay: share of the average that a step keeps.
    """

    weight: float = 0.1
    temperature: float = 1.0
    teacher: str = "self"
    ema_decay: float = 0.999

    def __post_init__(self) -> None:
        for name in ("weight", "temperature"):
            if not 0 < getattr(self, name) < math.inf:
                raise invalid("Distillation", name, "more than 0", getattr(self, name))
        if self.teacher not in TEACHERS:
            raise invalid("Distillation", "teacher", f"one of {TEACHERS}", self.teacher)
        if not 0 <= self.ema_decay < 1:
            raise invalid("Distillation", "ema_decay", "a share in [0, 1)", self.ema_decay)

    def __call__(self, student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        """Logits [..., labels, vocabulary], the teacher's without a pass axis -> [..., labels]."""
        log_teacher = (teacher.detach() / self.temperature).log_softmax(-1)
        log_student = (student / self.temperature).log_softmax(-1)
        divergence = kl_divergence(log_teacher.expand_as(log_student), log_student)
        return self.weight * self.temperature**2 * divergence
