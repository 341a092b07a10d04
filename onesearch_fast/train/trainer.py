"""One training stage on `transformers.Trainer`, with loss only where something is to be learnt."""

from __future__ import annotations

import math
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, SequentialSampler
from transformers import PreTrainedModel, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import ExportableState, PrinterCallback
from transformers.utils.logging import (
    disable_progress_bar,
    enable_progress_bar,
    is_progress_bar_enabled,
)

from onesearch_fast.data.long_history import LongHistories
from onesearch_fast.errors import FormatError, invalid
from onesearch_fast.files import read_json
from onesearch_fast.train import parallel
from onesearch_fast.train.backbones import Backbone, backbone_of
from onesearch_fast.train.config import StageConfig
from onesearch_fast.train.model import open_trained, save_trained
from onesearch_fast.train.objectives import Objective, Supervised
from onesearch_fast.train.progress import Progress, Silent
from onesearch_fast.train.rows import TokenRows, plan_batches
from onesearch_fast.train.steps import PlannedSteps, Step, TaskRows

_FINAL_LEARNING_RATE = 0.02  # of the peak
_LOGS_PER_STAGE = 100
_VALIDATION_LOSS = "validation_loss"


@dataclass(frozen=True)
class RunOptions:
    """What a stage takes from its run.

    Attributes:
        checkpoint_seconds: least pause between two checkpoints; 0 writes one after every step.
        histories: what tokens behind the vocabulary stand for; the model then has a `long_history`
            that makes vectors of them, see `open_trained`.
    """

    pad_id: int
    seed: int = 0
    precision: str = "auto"
    checkpoint_seconds: float = 60.0
    histories: LongHistories | None = None


@dataclass(frozen=True)
class StageCurves:
    """What happened in a stage.

    Attributes:
        points: {"step", "seconds", "tokens", "loss", "learning_rate"} of training, in order, and
            "reward" where rollouts have one.
        validations: {"step", "seconds", "loss"}; the loss is per SID, in nats.
        seconds: training time, that of interrupted runs included.
        tokens: tokens trained on, padding not counted.
        forward_tokens, backward_tokens: those that were run through the model in that direction,
            by all passes of the objective: both are `tokens` without additions to the loss.
    """

    points: list[dict[str, float]]
    validations: list[dict[str, float]]
    steps: int
    seconds: float
    tokens: int
    forward_tokens: int
    backward_tokens: int


def train_stage(
    model: PreTrainedModel,
    tasks: Mapping[str, TaskRows],
    config: StageConfig,
    options: RunOptions,
    folder: str | os.PathLike[str],
    validation: TokenRows | None = None,
    progress: Progress | None = None,
    make_objective: Callable[[Backbone], Objective] | None = None,
) -> StageCurves:
    """Trains `model` in place: minimises the mean of -log p(label | tokens before it).

    `config.objective` adds to that loss, see `Supervised`. It is over the whole vocabulary, at
    label positions only. Checkpoints go to `folder`; a later call with equal arguments goes on from
    the last whole one and, without a time limit, ends with the weights of a whole run. With a
    process group, every process runs its share of each step and ends with the same weights.

    Args:
        tasks: rows by task name; every task of `config.tasks` must be there and hold rows.
        validation: rows whose loss is taken `config.validations` times.
        make_objective: what to minimise instead, over the same rows.
    """
    backbone = backbone_of(model, options.pad_id, options.precision, options.histories)
    chosen = _checked_rows(tasks, config, backbone)
    lengths = {task: rows.student.lengths for task, rows in chosen.items()}
    plan = plan_batches(lengths, config.tasks, config.tokens_per_batch, config.epochs, options.seed)
    steps = PlannedSteps(TaskRows.concatenate(list(chosen.values())), plan, backbone, config)
    objective = (make_objective or partial(Supervised, config=config.objective))(backbone)
    scored = None if validation is None else backbone.prepare(validation)
    return run_stage(backbone, objective, steps, config, options, folder, scored, progress)


def run_stage(
    backbone: Backbone,
    objective: Objective,
    steps: PlannedSteps,
    config: StageConfig,
    options: RunOptions,
    folder: str | os.PathLike[str],
    validation: TokenRows | None = None,
    progress: Progress | None = None,
) -> StageCurves:
    """As `train_stage`, for any objective over any steps."""
    clock = _Clock(config, options.checkpoint_seconds)
    trainer = _SidTrainer(
        backbone, objective, steps, config, options, Path(folder), validation, clock, progress
    )
    if parallel.rank() == 0:
        last_checkpoint(folder)  # removes what is broken before others look
    parallel.barrier()
    checkpoint = last_checkpoint(folder)
    if checkpoint is not None:
        at = f"step {_step_of(checkpoint):,} of at most {len(steps):,}"
        trainer.reporter.say(f"  goes on from {at}")
    with quiet_transformers():
        trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
        trainer.restore_best()
    return trainer.curves()


def _checked_rows(
    tasks: Mapping[str, TaskRows], config: StageConfig, backbone: Backbone
) -> dict[str, TaskRows]:
    chosen = {task: tasks[task] for task in config.tasks}
    empty = [task for task, rows in chosen.items() if len(rows.student) == 0]
    if empty:
        raise invalid("train_stage", "tasks", "tasks with rows", f"none in {empty}")
    if config.objective.distillation is not None:
        untaught = [task for task, rows in chosen.items() if rows.teacher is None]
        if len(untaught) == len(chosen):
            expected, remedy = "rows for its teacher", "mine keywords: PipelineConfig.thoughts"
            raise invalid("train_stage", "distillation", expected, f"none in {untaught}", remedy)
    return {task: rows.prepared(backbone) for task, rows in chosen.items()}


def last_checkpoint(folder: str | os.PathLike[str]) -> Path | None:
    """The newest whole checkpoint in `folder`; broken ones, left by a kill, are removed."""
    found = sorted(Path(folder).glob("checkpoint-*"), key=_step_of)
    while found:
        newest = found.pop()
        try:
            read_json(newest / "trainer_state.json")  # the last file of a checkpoint
            return newest
        except (OSError, FormatError):
            shutil.rmtree(newest)
    return None


def _step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix("checkpoint-"))


class _Clock(TrainerCallback, ExportableState):
    """Counts training time over restarts; asks for checkpoints, validations and the end.

    seconds: training time up to the last step, the same in every process.
    """

    def __init__(self, config: StageConfig, checkpoint_seconds: float) -> None:
        self.config = config
        self.checkpoint_seconds = checkpoint_seconds
        self.seconds = 0.0
        self.validations_done = 0
        self.logs_done = 0
        self._began = 0.0
        self._saved = 0.0

    def state(self) -> dict[str, Any]:
        attributes = {
            "seconds": self.seconds,
            "validations_done": self.validations_done,
            "logs_done": self.logs_done,
        }
        return {"args": {}, "attributes": attributes}

    def restore(self, attributes: Mapping[str, Any]) -> None:
        for name, value in attributes.items():
            setattr(self, name, value)

    def progress(self, step: int, steps: int) -> float:
        used = 0.0
        if self.config.max_minutes is not None:
            used = self.seconds / (60.0 * self.config.max_minutes)
        return min(1.0, max(step / steps, used))

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._began = time.monotonic() - self.seconds
        self._saved = self.seconds

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        # All that depends on the time must be decided alike by every process.
        self.seconds = parallel.latest(time.monotonic() - self._began)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        done = self.progress(state.global_step, state.max_steps)
        validations_due = math.floor(done * self.config.validations)
        control.should_evaluate = validations_due > self.validations_done
        self.validations_done = validations_due
        logs_due = math.floor(done * _LOGS_PER_STAGE)
        control.should_log = logs_due > self.logs_done or state.global_step == 1
        self.logs_done = logs_due
        if done >= 1.0:
            control.should_training_stop = True
        elif self.seconds - self._saved >= self.checkpoint_seconds:
            self._saved = self.seconds
            control.should_save = True

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        # Trainer looks at the wishes of the last step a second time here.
        control.should_evaluate = control.should_log = control.should_save = False


class _AfterStep(TrainerCallback):
    def __init__(self, objective: Objective) -> None:
        self.objective = objective

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.objective.after_step()


class _SidTrainer(Trainer):
    def __init__(
        self,
        backbone: Backbone,
        objective: Objective,
        steps: PlannedSteps,
        config: StageConfig,
        options: RunOptions,
        folder: Path,
        validation: TokenRows | None,
        clock: _Clock,
        progress: Progress | None,
    ) -> None:
        self.backbone = backbone
        self.objective: Objective = objective
        self.steps = steps
        self.config = config
        self.clock = clock
        self.validation = validation
        self.reporter = progress or Silent()
        self.decoder: Any = backbone.model
        if config.gradient_checkpointing:
            self.decoder.activation_checkpointing_enable()
        if not torch.cuda.is_available():
            # On a processor, with rows this short, two plain products beat the blocked kernel by
            # 1.1 to 1.3 (one thread, bfloat16, rows of 24 to 250 tokens, heads of 64).
            self.decoder.set_attn_implementation("eager")
        super().__init__(
            model=self.decoder,
            args=_arguments(folder, config, options, len(steps)),
            train_dataset=steps,
            data_collator=_only_element,
            callbacks=[clock, _AfterStep(objective)],
        )
        self.remove_callback(PrinterCallback)
        self.model_accepts_loss_kwargs = False

    def get_train_dataloader(self) -> DataLoader[list[Step]]:
        # As it is: the plan is shuffled, and an element knows its process's share.
        return DataLoader(
            self.steps, sampler=SequentialSampler(self.steps), collate_fn=_only_element
        )

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        following: Any = self.optimizer if optimizer is None else optimizer
        self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(following, self._learning_rate_factor)
        self._created_lr_scheduler = True
        return self.lr_scheduler

    def _learning_rate_factor(self, step: int) -> float:
        # Progress at the end of the coming step, so that the first step already learns.
        done = self.clock.progress(step + 1, len(self.steps))
        if done < self.config.warmup:
            return done / self.config.warmup
        falling = (done - self.config.warmup) / max(1e-9, 1.0 - self.config.warmup)
        cosine = 0.5 * (1.0 + math.cos(math.pi * falling))
        return _FINAL_LEARNING_RATE + (1.0 - _FINAL_LEARNING_RATE) * cosine

    def _load_callback_state(self) -> None:
        # Trainer would make a new callback from the saved state; ours holds what the run was given.
        saved: Any = self.state.stateful_callbacks
        self.clock.restore(saved[_Clock.__name__]["attributes"])

    def training_step(
        self, model: nn.Module, inputs: Any, num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """Gradients of the parts of one optimiser step; returns its loss."""
        self.decoder.train()
        loss = torch.zeros((), device=self.args.device)
        for part in inputs:
            for one in self.objective.losses(part.to(self.args.device)):
                self.accelerator.backward(one)
                loss += one.detach()
        parallel.sum_gradients(self.decoder.parameters())
        return parallel.total(loss)

    def floating_point_ops(self, inputs: Any) -> int:
        return 0  # the curves count tokens

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        # A checkpoint holds weights that are tied once; Trainer would call the other name missing.
        missing = [
            n for n in load_result.missing_keys if n not in self.decoder.all_tied_weights_keys
        ]
        super()._issue_warnings_after_load(load_result._replace(missing_keys=missing))

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        super()._save_optimizer_and_scheduler(output_dir)
        if self.args.should_save:
            self.objective.save(Path(output_dir))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None:
            self.objective.load(Path(checkpoint))

    @torch.no_grad()
    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Loss on the validation rows, summed over the tokens of a row and averaged over rows."""
        if self.validation is None or len(self.validation) == 0:
            return {}
        order = np.argsort(self.validation.lengths, kind="stable")
        per_batch = max(1, self.config.tokens_per_batch // int(self.validation.lengths.max()))
        self.decoder.eval()
        total = 0.0
        for chosen in np.split(order, range(per_batch, len(order), per_batch)):
            batch = self.backbone.make_batch(self.validation, chosen).to(self.args.device)
            logits = self.backbone.logits(self.backbone.embed(batch), batch)
            losses = nn.functional.cross_entropy(logits, batch.labels, reduction="none")
            total += float(losses.double().sum())
        self.decoder.train()
        loss = total / len(self.validation)
        self._keep_if_best(loss)
        self.log({_VALIDATION_LOSS: loss})
        if self._is_out_of_patience():
            self.control.should_training_stop = True
        return {_VALIDATION_LOSS: loss}

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        tokens = self.steps.tokens(self.state.global_step)
        seconds = self.clock.seconds
        measured = self.objective.metrics() if "loss" in logs else {}
        super().log({**logs, **measured, "seconds": seconds, "tokens": tokens}, start_time)
        if "loss" in logs:
            done = self.clock.progress(self.state.global_step, len(self.steps))
            speed = tokens / max(seconds, 1e-9)
            self.reporter.training(self.config.name, done, logs["loss"], speed)

    def curves(self) -> StageCurves:
        history = self.state.log_history
        points = [
            {
                "step": entry["step"],
                "seconds": round(entry["seconds"], 3),
                "tokens": entry["tokens"],
                "loss": entry["loss"],
                "learning_rate": entry["learning_rate"],
                **{name: entry[name] for name in ("reward",) if name in entry},
            }
            for entry in history
            if "loss" in entry
        ]
        validations = [
            {
                "step": entry["step"],
                "seconds": round(entry["seconds"], 3),
                "loss": entry[_VALIDATION_LOSS],
            }
            for entry in history
            if _VALIDATION_LOSS in entry
        ]
        done = self.state.global_step
        forward, backward = self.steps.cost(done)
        return StageCurves(
            points,
            validations,
            done,
            self.clock.seconds,
            self.steps.tokens(done),
            forward,
            backward,
        )

    @property
    def _best_folder(self) -> Path:
        return Path(str(self.args.output_dir)) / "best"

    def _validation_losses(self) -> list[float]:
        return [e[_VALIDATION_LOSS] for e in self.state.log_history if _VALIDATION_LOSS in e]

    def _is_out_of_patience(self) -> bool:
        losses = self._validation_losses()
        since_best = len(losses) - 1 - losses.index(min(losses))
        return self.config.patience is not None and since_best >= self.config.patience

    def _keep_if_best(self, loss: float) -> None:
        best = min(self._validation_losses(), default=math.inf)
        better = self.config.keep_best and loss < best
        if better and self.args.should_save:
            save_trained(self.decoder, self._best_folder)

    def restore_best(self) -> None:
        """Puts back the weights of the best validation, when the config asks for them."""
        parallel.barrier()
        if self.config.keep_best and self._best_folder.is_dir():
            best = open_trained(self._best_folder)
            self.decoder.load_state_dict(best.state_dict())


def _arguments(
    folder: Path, config: StageConfig, options: RunOptions, num_steps: int
) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(folder),
        max_steps=num_steps,
        per_device_train_batch_size=1,  # one element of the data set is one batch
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        adam_beta2=0.98,
        max_grad_norm=1.0,
        optim="adamw_torch_fused",
        logging_strategy="no",  # the clock asks
        logging_nan_inf_filter=False,
        eval_strategy="no",  # the clock asks
        save_strategy="no",  # the clock asks
        save_total_limit=2,
        seed=options.seed,
        data_seed=options.seed,
        remove_unused_columns=False,
        label_names=["labels"],
        dataloader_pin_memory=False,
        disable_tqdm=True,
        report_to="none",
    )


def _only_element(batch: list[list[Step]]) -> Any:
    return batch[0]


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keeps the library's own progress bars off the terminal."""
    shown = is_progress_bar_enabled()
    disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        if shown:
            enable_progress_bar()  # type: ignore[no-untyped-call]
