"""One training stage on `transformers.Trainer`, with loss only where something is to be learnt."""

from __future__ import annotations

import math
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset, SequentialSampler
from transformers import PreTrainedModel, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import ExportableState, PrinterCallback
from transformers.utils.logging import (
    disable_progress_bar,
    enable_progress_bar,
    is_progress_bar_enabled,
)

from onesearch_fast.errors import FormatError, invalid
from onesearch_fast.files import read_json
from onesearch_fast.train.config import StageConfig
from onesearch_fast.train.progress import Progress, Silent
from onesearch_fast.train.rows import IntArray, TokenRows, make_batch, plan_batches

_FINAL_LEARNING_RATE = 0.02  # of the peak
_LOGS_PER_STAGE = 100
_VALIDATION_LOSS = "validation_loss"


@dataclass(frozen=True)
class RunOptions:
    """What a stage takes from its run.

    Attributes:
        checkpoint_seconds: least pause between two checkpoints; 0 writes one after every step.
    """

    pad_id: int
    seed: int = 0
    precision: str = "auto"
    checkpoint_seconds: float = 60.0


@dataclass(frozen=True)
class StageCurves:
    """What happened in a stage.

    Attributes:
        points: {"step", "seconds", "tokens", "loss", "learning_rate"} of training, in order.
        validations: {"step", "seconds", "loss"}; the loss is per SID, in nats.
        seconds: training time, that of interrupted runs included.
        tokens: tokens trained on, padding not counted.
    """

    points: list[dict[str, float]]
    validations: list[dict[str, float]]
    steps: int
    seconds: float
    tokens: int


def native_bfloat16() -> bool:
    """Whether products in bfloat16 are native here; emulated ones are slower than float32."""
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, probe, lambda: False)() for probe in probes)


def train_stage(
    model: PreTrainedModel,
    tasks: Mapping[str, TokenRows],
    config: StageConfig,
    options: RunOptions,
    folder: str | os.PathLike[str],
    validation: TokenRows | None = None,
    progress: Progress | None = None,
) -> StageCurves:
    """Trains `model` in place: minimises the mean of -log p(label | tokens before it).

    The loss is over the whole vocabulary, at label positions only: hidden states are gathered
    before the output matrix. Checkpoints go to `folder`; a later call with equal arguments goes on
    from the last whole one and, without a time limit, ends with the weights of a whole run.

    Args:
        tasks: rows by task name; every task of `config.tasks` must be there and hold rows.
        validation: rows whose loss is taken `config.validations` times.
    """
    chosen = {task: tasks[task] for task in config.tasks}
    empty = [task for task, rows in chosen.items() if len(rows) == 0]
    if empty:
        raise invalid("train_stage", "tasks", "tasks with rows", f"none in {empty}")
    plan = plan_batches(chosen, config.tasks, config.tokens_per_batch, config.epochs, options.seed)
    steps = PlannedSteps(TokenRows.concatenate(list(chosen.values())), plan, options.pad_id)
    clock = _Clock(config, options.checkpoint_seconds)
    trainer = _SidTrainer(model, steps, config, options, Path(folder), validation, clock, progress)
    checkpoint = last_checkpoint(folder)
    with quiet_transformers():
        trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
        trainer.restore_best()
    return trainer.curves()


def last_checkpoint(folder: str | os.PathLike[str]) -> Path | None:
    """The newest whole checkpoint in `folder`; broken ones, left by a kill, are removed."""
    found = sorted(Path(folder).glob("checkpoint-*"), key=lambda path: int(path.name[11:]))
    while found:
        newest = found.pop()
        try:
            read_json(newest / "trainer_state.json")  # the last file of a checkpoint
            return newest
        except (OSError, FormatError):
            shutil.rmtree(newest)
    return None


class PlannedSteps(Dataset[dict[str, torch.Tensor]]):
    """Element i is the padded batch of optimiser step i."""

    def __init__(self, rows: TokenRows, plan: list[IntArray], pad_id: int) -> None:
        self.rows = rows
        self.plan = plan
        self.pad_id = pad_id
        lengths = rows.lengths
        self.tokens_before = np.cumsum([0, *(int(lengths[chosen].sum()) for chosen in plan)])

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, step: int) -> dict[str, torch.Tensor]:
        batch = make_batch(self.rows, self.plan[step], self.pad_id)
        return {
            "input_ids": torch.from_numpy(batch.input_ids),
            "positions": torch.from_numpy(batch.positions),
            "labels": torch.from_numpy(batch.labels),
        }


class _Clock(TrainerCallback, ExportableState):
    """Counts training time over restarts; asks for checkpoints, validations and the end."""

    def __init__(self, config: StageConfig, checkpoint_seconds: float) -> None:
        self.config = config
        self.checkpoint_seconds = checkpoint_seconds
        self.seconds_before = 0.0
        self.validations_done = 0
        self.logs_done = 0
        self._began: float | None = None
        self._saved = 0.0

    def state(self) -> dict[str, Any]:
        attributes = {
            "seconds_before": self.seconds,
            "validations_done": self.validations_done,
            "logs_done": self.logs_done,
        }
        return {"args": {}, "attributes": attributes}

    def restore(self, attributes: Mapping[str, Any]) -> None:
        for name, value in attributes.items():
            setattr(self, name, value)

    @property
    def seconds(self) -> float:
        running = 0.0 if self._began is None else time.monotonic() - self._began
        return self.seconds_before + running

    def progress(self, step: int, steps: int) -> float:
        used = 0.0
        if self.config.max_minutes is not None:
            used = self.seconds / (60.0 * self.config.max_minutes)
        return min(1.0, max(step / steps, used))

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._began = time.monotonic()
        self._saved = self.seconds

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


class _SidTrainer(Trainer):
    def __init__(
        self,
        model: PreTrainedModel,
        steps: PlannedSteps,
        config: StageConfig,
        options: RunOptions,
        folder: Path,
        validation: TokenRows | None,
        clock: _Clock,
        progress: Progress | None,
    ) -> None:
        self.steps = steps
        self.config = config
        self.options = options
        self.clock = clock
        self.validation = validation
        self.reporter = progress or Silent()
        self.decoder: Any = model
        if not torch.cuda.is_available():
            # On a processor, with rows this short, two plain products beat the blocked kernel by
            # 1.1 to 1.3 (one thread, bfloat16, rows of 24 to 250 tokens, heads of 64).
            model.set_attn_implementation("eager")
        super().__init__(
            model=model,
            args=_arguments(folder, config, options, len(steps)),
            train_dataset=steps,
            data_collator=_only_element,
            callbacks=[clock],
        )
        self.remove_callback(PrinterCallback)
        self.model_accepts_loss_kwargs = False

    def _get_train_sampler(self, train_dataset: Any = None) -> SequentialSampler:
        return SequentialSampler(self.steps)  # the plan is shuffled already

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

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        return self.label_losses(inputs).mean()

    def label_losses(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """float32 [labels]: -log p of each label."""
        bfloat16 = self.options.precision == "bfloat16" or (
            self.options.precision == "auto" and native_bfloat16()
        )
        device = inputs["input_ids"].device
        with torch.autocast(device.type, torch.bfloat16) if bfloat16 else nullcontext():
            # Rows are padded on the right and attention is causal: no mask is needed.
            hidden = self.decoder.model(input_ids=inputs["input_ids"], use_cache=False)[0]
            logits = self.decoder.lm_head(hidden.flatten(0, 1)[inputs["positions"]])
        return nn.functional.cross_entropy(logits.float(), inputs["labels"], reduction="none")

    @torch.no_grad()
    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Loss on the validation rows, summed over the tokens of a row and averaged over rows."""
        if self.validation is None or len(self.validation) == 0:
            return {}
        order = np.argsort(self.validation.lengths, kind="stable")
        per_batch = max(1, self.config.tokens_per_batch // int(self.validation.lengths.max()))
        pieces = np.split(order, range(per_batch, len(order), per_batch))
        batches = PlannedSteps(self.validation, pieces, self.options.pad_id)
        self.decoder.eval()
        total = 0.0
        for step in range(len(batches)):
            inputs = {name: part.to(self.args.device) for name, part in batches[step].items()}
            total += float(self.label_losses(inputs).double().sum())
        self.decoder.train()
        loss = total / len(self.validation)
        self._keep_if_best(loss)
        self.log({_VALIDATION_LOSS: loss})
        return {_VALIDATION_LOSS: loss}

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        tokens = int(self.steps.tokens_before[self.state.global_step])
        seconds = self.clock.seconds
        super().log({**logs, "seconds": seconds, "tokens": tokens}, start_time)
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
        tokens = int(self.steps.tokens_before[done])
        return StageCurves(points, validations, done, self.clock.seconds, tokens)

    @property
    def _best_folder(self) -> Path:
        return Path(str(self.args.output_dir)) / "best"

    def _keep_if_best(self, loss: float) -> None:
        before = [e[_VALIDATION_LOSS] for e in self.state.log_history if _VALIDATION_LOSS in e]
        if self.config.keep_best and loss < min(before, default=math.inf):
            self.decoder.save_pretrained(self._best_folder)

    def restore_best(self) -> None:
        """Puts back the weights of the best validation, when the config asks for them."""
        if self.config.keep_best and self._best_folder.is_dir():
            best = type(self.decoder).from_pretrained(self._best_folder)
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


def _only_element(batch: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
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
