"""The optimiser steps of a stage: which rows each one sees, and this process's share of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import Dataset

from onesearch_fast.errors import invalid
from onesearch_fast.train import parallel
from onesearch_fast.train.backbones import Backbone
from onesearch_fast.train.config import StageConfig
from onesearch_fast.train.rows import Batch, IntArray, TokenRows


@dataclass(frozen=True, eq=False)
class Step:
    """What one process sees of one optimiser step, or a part of it that fits in memory.

    Attributes:
        chosen: which of the stage's rows these are.
        teacher: the same rows with what only the teacher reads; labels stand in the same order.
        num_labels: labels of the whole step, in all its parts and processes: what means are over.
    """

    chosen: IntArray
    batch: Batch
    teacher: Batch | None
    num_labels: int

    def to(self, device: torch.device) -> Step:
        teacher = None if self.teacher is None else self.teacher.to(device)
        return Step(self.chosen, self.batch.to(device), teacher, self.num_labels)


@dataclass(frozen=True, eq=False)
class TaskRows:
    """The rows of a task, and the same rows as the teacher reads them.

    The teacher's rows have the same labels in the same order. None: nobody teaches.
    """

    student: TokenRows
    teacher: TokenRows | None = None

    def __post_init__(self) -> None:
        if self.teacher is None:
            return
        one, other = (rows.ids[rows.learnt] for rows in (self.student, self.teacher))
        alike = np.array_equal(self.student.num_labels, self.teacher.num_labels)
        if not alike or not np.array_equal(one, other):
            expected = "the student's rows with more to read, and the same to learn"
            raise invalid("TaskRows", "teacher", expected, "other labels")

    @classmethod
    def concatenate(cls, parts: Sequence[TaskRows]) -> TaskRows:
        """One behind the other; rows that nobody teaches teach themselves beside others."""
        student = TokenRows.concatenate([part.student for part in parts])
        if all(part.teacher is None for part in parts):
            return cls(student)
        return cls(student, TokenRows.concatenate([part.teacher or part.student for part in parts]))

    def prepared(self, backbone: Backbone) -> TaskRows:
        teacher = None if self.teacher is None else backbone.prepare(self.teacher)
        return TaskRows(backbone.prepare(self.student), teacher)


class PlannedSteps(Dataset[list[Step]]):
    """Element i is this process's share of optimiser step i, in `config.parts` parts."""

    def __init__(
        self, rows: TaskRows, plan: list[IntArray], backbone: Backbone, config: StageConfig
    ) -> None:
        self.rows = rows
        self.plan = plan
        self.backbone = backbone
        self.config = config
        self._num_labels = rows.student.num_labels
        self._tokens = _tokens_before(rows.student, plan)
        self._teacher_tokens = None if rows.teacher is None else _tokens_before(rows.teacher, plan)

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, step: int) -> list[Step]:
        chosen = self.plan[step]
        processes = parallel.world_size()
        pieces = np.array_split(chosen, processes * self.config.parts)[parallel.rank() :: processes]
        num_labels = int(self._num_labels[chosen].sum())
        return [self._part(piece, num_labels) for piece in pieces if len(piece)]

    def _part(self, chosen: IntArray, num_labels: int) -> Step:
        teacher = self.rows.teacher if self.config.objective.distillation is not None else None
        return Step(
            chosen,
            self.backbone.make_batch(self.rows.student, chosen),
            None if teacher is None else self.backbone.make_batch(teacher, chosen),
            num_labels,
        )

    def tokens(self, step: int) -> int:
        """Tokens of the steps before `step`, padding not counted."""
        return int(self._tokens[step])

    def cost(self, step: int) -> tuple[int, int]:
        """Tokens that were run forward, and backward, in the steps before `step`."""
        objective = self.config.objective
        passes = (1 if objective.r_drop is None else 2) + (objective.fgm is not None)
        student = passes * self.tokens(step)
        if objective.distillation is None or self._teacher_tokens is None:
            return student, student
        teacher = int(self._teacher_tokens[step])
        joint = objective.distillation.teacher == "joint"
        return student + teacher, student + (teacher if joint else 0)


def _tokens_before(rows: TokenRows, plan: Sequence[IntArray]) -> IntArray:
    lengths = rows.lengths
    return np.cumsum([0, *(int(lengths[chosen].sum()) for chosen in plan)])
