"""What a stage minimises, as losses of one optimiser step that are propagated one by one."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

import torch
from safetensors.torch import load_model, save_model
from transformers import PreTrainedModel

from onesearch_fast.train.backbones import Backbone
from onesearch_fast.train.checks import check_r_drop
from onesearch_fast.train.config import ObjectiveConfig
from onesearch_fast.train.rows import Batch
from onesearch_fast.train.steps import Step

_AVERAGE_FILE = "teacher_average.safetensors"


class Objective(Protocol):
    """A loss over steps. State of its own, beside the model's weights, survives interruptions."""

    def losses(self, step: Step) -> Iterator[torch.Tensor]:
        """Scalars whose gradients add up; each is propagated before the next is asked for."""
        ...

    def after_step(self) -> None:
        """The weights have been updated."""
        ...

    def metrics(self) -> Mapping[str, float]:
        """What else the curves show, over the steps since the last call; names are documented."""
        ...

    def save(self, folder: Path) -> None:
        """Writes the state into a checkpoint."""
        ...

    def load(self, folder: Path) -> None:
        """Reads it back."""
        ...


class Supervised:
    """The loss of the labels, with the additions that the config switches on.

        mean over labels of  L + KL(teacher || student) + R-Drop + L and KL at the worst embeddings

    where L is the cross-entropy or the focal loss, averaged over both passes of R-Drop. The teacher
    is run once and shared by all passes of the student; both passes of R-Drop are one batch.
    Source: OneSearch-V2, arXiv 2603.24422, eq. 4 to 8.
    """

    def __init__(self, backbone: Backbone, config: ObjectiveConfig) -> None:
        check_r_drop(config, backbone.model.config)
        self._backbone = backbone
        self._config = config
        self._teacher = backbone
        if config.distillation is not None and config.distillation.teacher == "ema":
            average = copy.deepcopy(backbone.model).eval().requires_grad_(False)
            self._teacher = backbone.like(average)

    def losses(self, step: Step) -> Iterator[torch.Tensor]:
        config = self._config
        teacher = None
        if config.distillation is not None and step.teacher is not None:
            teacher = self._teacher_logits(step.teacher)
            if config.distillation.teacher == "joint":
                yield self._own(teacher, step)
                teacher = teacher.detach()
        embeddings = self._backbone.embed(step.batch)
        if config.fgm is not None:
            embeddings.retain_grad()
        passes = 1 if config.r_drop is None else 2
        logits = self._student_logits(embeddings, step.batch, passes)
        loss = self._taught(logits, teacher, step)
        if config.r_drop is not None:
            loss = loss + config.r_drop(*logits.log_softmax(-1)).sum() / step.num_labels
        yield loss
        if config.fgm is not None:
            assert embeddings.grad is not None, "the loss before was propagated"
            worst = self._backbone.embed(step.batch) + config.fgm.perturbation(embeddings.grad)
            yield self._taught(self._student_logits(worst, step.batch, 1), teacher, step)

    def after_step(self) -> None:
        """Moves the averaged teacher, once a step, however many parts the step has."""
        distillation = self._config.distillation
        if distillation is not None and distillation.teacher == "ema":
            _move_average(self._teacher.model, self._backbone.model, distillation.ema_decay)

    def metrics(self) -> Mapping[str, float]:
        return {}

    def save(self, folder: Path) -> None:
        if self._teacher is not self._backbone:
            save_model(self._teacher.model, str(folder / _AVERAGE_FILE))

    def load(self, folder: Path) -> None:
        if self._teacher is not self._backbone:
            load_model(self._teacher.model, str(folder / _AVERAGE_FILE))

    def _student_logits(self, embeddings: torch.Tensor, batch: Batch, passes: int) -> torch.Tensor:
        """[passes, labels, vocabulary]"""
        several = embeddings.repeat(passes, 1, 1)
        logits = self._backbone.logits(several, batch.repeated(passes), self._config.dropout)
        return logits.view(passes, len(batch.labels), -1)

    def _teacher_logits(self, batch: Batch) -> torch.Tensor:
        """[labels, vocabulary], without dropout; with a gradient in "joint" alone."""
        distillation = self._config.distillation
        learns = distillation is not None and distillation.teacher == "joint"
        model = self._teacher.model
        was_training = model.training
        model.eval()
        with torch.set_grad_enabled(learns):
            logits = self._teacher.logits(self._teacher.embed(batch), batch)
        model.train(was_training)
        return logits

    def _taught(
        self, logits: torch.Tensor, teacher: torch.Tensor | None, step: Step
    ) -> torch.Tensor:
        """Own loss and distillation of logits [passes, labels, vocabulary]: mean of passes."""
        loss = self._own(logits, step)
        if self._config.distillation is None or teacher is None:
            return loss
        taught = self._config.distillation(logits, teacher)
        return loss + taught.sum() / (len(logits) * step.num_labels)

    def _own(self, logits: torch.Tensor, step: Step) -> torch.Tensor:
        """Mean cross-entropy or focal loss of logits [..., labels, vocabulary]."""
        flat = logits.reshape(-1, logits.shape[-1])
        passes = len(flat) // max(1, len(step.batch.labels))
        labels = step.batch.labels.repeat(passes)
        losses = torch.nn.functional.cross_entropy(flat, labels, reduction="none")
        if self._config.focal is not None:
            losses = self._config.focal(-losses)
        return losses.sum() / (passes * step.num_labels)


@torch.no_grad()
def _move_average(average: PreTrainedModel, model: PreTrainedModel, decay: float) -> None:
    for slow, fast in zip(average.parameters(), model.parameters(), strict=True):
        slow.lerp_(fast, 1.0 - decay)
