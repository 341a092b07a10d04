"""The stages of a run, from what they may look at to the weights after the last one."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from transformers import PreTrainedModel

from onesearch_fast.data.long_history import LongHistories
from onesearch_fast.data.prompts import PromptEncoder
from onesearch_fast.data.split import NEXT_ITEM, SEARCH, EvalCase, TrainLog
from onesearch_fast.data.user_ids import QueryItems, UserIds
from onesearch_fast.files import write_json
from onesearch_fast.sid.build import SemanticIds
from onesearch_fast.train import parallel
from onesearch_fast.train.backbones import Backbone
from onesearch_fast.train.checks import check_rows
from onesearch_fast.train.config import PipelineConfig, StageConfig, ThoughtConfig, TowersConfig
from onesearch_fast.train.curves import write_curves
from onesearch_fast.train.model import open_trained, save_trained
from onesearch_fast.train.objectives import Objective
from onesearch_fast.train.preference import DirectPreference, PolicyGradient
from onesearch_fast.train.rewards.composite import CompositeReward
from onesearch_fast.train.rewards.relevance import CategoryRelevance
from onesearch_fast.train.rewards.towers import RewardModel
from onesearch_fast.train.rows import TokenRows
from onesearch_fast.train.run_folder import RunFolder
from onesearch_fast.train.stages import Stage, StageInputs, find_stage
from onesearch_fast.train.stages.personalisation import validation_rows
from onesearch_fast.train.steps import TaskRows
from onesearch_fast.train.thoughts import load_thoughts, make_thoughts, save_thoughts
from onesearch_fast.train.trainer import RunOptions, train_stage


def make_inputs(log: TrainLog, sids: SemanticIds, prompts: PromptEncoder, seed: int) -> StageInputs:
    """What stages may look at, without keywords."""
    user_ids = None
    if prompts.config.user_ids:
        sizes, codes_of = sids.codebooks.level_sizes, sids.codes.__getitem__
        user_ids = UserIds(sizes, codes_of, QueryItems.from_log(log))
    codes = _codes_of(sids, _log_queries(log))
    histories = _long_histories(log, sids, prompts)
    return StageInputs(
        log, sids.codes, codes, prompts, user_ids=user_ids, histories=histories, seed=seed
    )


def _long_histories(
    log: TrainLog, sids: SemanticIds, prompts: PromptEncoder
) -> LongHistories | None:
    config = prompts.config.long_history
    if config is None:
        return None
    pasts = ((history.user_id, history.events) for history in log.histories)
    return LongHistories.make(config, prompts.tokenizer.vocab_size, pasts, sids.codes.__getitem__)


def run_stages(
    run: RunFolder,
    config: PipelineConfig,
    inputs: StageInputs,
    validation: Validation,
    folder: Path,
) -> Path:
    """Every stage of the config, one after the other, from the weights in `folder` on."""
    stages = {f"stage_{at}_{one.name}": one for at, one in enumerate(config.stages, start=1)}
    check_rows((one for name, one in stages.items() if not run.has(name)), inputs)
    for name, settings in stages.items():
        folder = _run_stage(run, name, config, settings, inputs, validation, folder)
    if parallel.rank() == 0:
        write_curves(run.path)
    return folder


def _log_queries(log: TrainLog) -> set[str]:
    events = (event for history in log.histories for event in history.events)
    return {event.query for event in events if event.query is not None}


def _codes_of(sids: SemanticIds, texts: Iterable[str]) -> dict[str, npt.NDArray[np.int32]]:
    ordered = sorted(texts)
    return dict(zip(ordered, sids.encode(ordered), strict=True)) if ordered else {}


def with_thoughts(
    run: RunFolder, inputs: StageInputs, config: ThoughtConfig, sids: SemanticIds
) -> StageInputs:
    answers = run.path / "work" / "answers.jsonl"

    def make(folder: Path) -> None:
        save_thoughts(make_thoughts(inputs.log, config, answers), folder)

    thoughts = load_thoughts(run.step("thoughts", make))
    codes = _codes_of(sids, thoughts.all_keywords())
    return replace(inputs, thoughts=thoughts, keyword_codes=codes)


@dataclass(frozen=True, eq=False)
class Validation:
    """The stopping users' cases; nothing of them reaches the inputs of a stage."""

    cases: list[EvalCase]
    inputs: StageInputs
    sids: SemanticIds

    def rows(self, tasks: Mapping[str, float]) -> TokenRows | None:
        """Prompts with targets of the personalised tasks that are trained; None without any."""
        cases = [case for case in self.cases if _task_of(case) in tasks]
        queries = {case.query for case in cases if case.query is not None}
        codes = {**self.inputs.query_codes, **_codes_of(self.sids, queries)}
        inputs = replace(self.inputs, query_codes=codes)
        return TokenRows.pack(validation_rows(cases, inputs)) if cases else None


def _task_of(case: EvalCase) -> str:
    return NEXT_ITEM if case.query is None else SEARCH


def _task_rows(stage: Stage, task: str, settings: StageConfig, inputs: StageInputs) -> TaskRows:
    student = TokenRows.pack(stage.tasks[task](inputs))
    if settings.objective.distillation is None or task not in stage.teachers:
        return TaskRows(student)
    return TaskRows(student, TokenRows.pack(stage.teachers[task](inputs)))


def _objective_maker(
    settings: StageConfig, inputs: StageInputs, sids: SemanticIds
) -> Callable[[Backbone], Objective] | None:
    """What a stage that learns from rewards minimises; None for the others."""
    if settings.dpo is None and settings.policy is None:
        return None
    cases = inputs.preference_cases
    if settings.policy is not None:
        reward = CompositeReward(inputs.log, CategoryRelevance(inputs.log))
        return partial(
            PolicyGradient, config=settings.policy, cases=cases, inputs=inputs, reward=reward
        )
    assert settings.dpo is not None, "one of both"
    towers = settings.dpo.towers
    model = None if towers is None else _reward_model(inputs, sids, towers)
    return partial(DirectPreference, config=settings.dpo, cases=cases, inputs=inputs, model=model)


def _reward_model(inputs: StageInputs, sids: SemanticIds, config: TowersConfig) -> RewardModel:
    """Three towers over the text encoder's vectors, fitted on the log."""
    sessions = [case.session for case in inputs.preference_cases]
    queries = sorted({session.query for session in sessions})
    vectors = dict(zip(queries, sids.encoder.encode(queries), strict=True))
    relevance = CategoryRelevance(inputs.log)
    model = RewardModel(inputs.log, sids.embeddings, vectors, relevance, config)
    model.fit(sessions)
    return model


def _run_stage(
    run: RunFolder,
    name: str,
    config: PipelineConfig,
    settings: StageConfig,
    inputs: StageInputs,
    validation: Validation,
    start: Path,
) -> Path:
    stage, work = find_stage(settings.name, settings.tasks), run.path / "work" / name

    def make(folder: Path) -> None:
        rows = {task: _task_rows(stage, task, settings, inputs) for task in sorted(settings.tasks)}
        for task, packed in rows.items():
            said = f"{len(packed.student):,} rows, {packed.student.ids.size:,} tokens"
            run.progress.say(f"  {task}: {said}")
        model: PreTrainedModel = open_trained(start)
        pad_id = inputs.prompts.tokenizer.pad_id
        options = RunOptions(
            pad_id, config.seed, config.precision, config.checkpoint_seconds, inputs.histories
        )
        scored = validation.rows(settings.tasks)
        objective = _objective_maker(settings, inputs, validation.sids)
        curves = train_stage(model, rows, settings, options, work, scored, run.progress, objective)
        save_trained(model, folder)
        write_json(folder / "curves.json", asdict(curves))

    folder = run.step(name, make, in_every_process=True)
    if parallel.rank() == 0:
        shutil.rmtree(work, ignore_errors=True)
    return folder
