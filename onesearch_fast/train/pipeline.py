"""A whole run: semantic IDs, tokenizer, stages, served folder."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tokenizers
import torch
import transformers
from safetensors.numpy import load_file, save_file
from transformers import AutoTokenizer, PreTrainedModel

import onesearch_fast
from onesearch_fast.data.keyword_mining import open_keywords
from onesearch_fast.data.prompts import PromptEncoder, Templates
from onesearch_fast.data.records import item_text
from onesearch_fast.data.split import NEXT_ITEM, SEARCH, EvalCase, Split, TrainLog
from onesearch_fast.data.tokenizer import SidTokenizer
from onesearch_fast.data.user_ids import QueryItems, UserIds
from onesearch_fast.files import read_json, write_json
from onesearch_fast.index.sid_trie import SidTrie
from onesearch_fast.models import check_served, read_checkpoint
from onesearch_fast.sid import Codebooks, load_text_encoder
from onesearch_fast.sid.build import SemanticIds, build_semantic_ids
from onesearch_fast.train import parallel
from onesearch_fast.train.backbones import Backbone
from onesearch_fast.train.config import PipelineConfig, StageConfig, ThoughtConfig, TowersConfig
from onesearch_fast.train.curves import write_curves
from onesearch_fast.train.model import extended_model, new_model, open_model
from onesearch_fast.train.objectives import Objective
from onesearch_fast.train.preference import (
    DirectPreference,
    PolicyGradient,
    PreferenceCase,
    preference_cases,
)
from onesearch_fast.train.progress import Progress, Silent
from onesearch_fast.train.rewards.composite import CompositeReward
from onesearch_fast.train.rewards.relevance import CategoryRelevance, RelevanceModel
from onesearch_fast.train.rewards.towers import RewardModel
from onesearch_fast.train.rows import TokenRows
from onesearch_fast.train.run_folder import RUN_FILE, RunFolder, StepReport
from onesearch_fast.train.serve import write_served
from onesearch_fast.train.stages import Stage, StageInputs, find_stage
from onesearch_fast.train.stages.personalisation import validation_rows
from onesearch_fast.train.steps import TaskRows
from onesearch_fast.train.thoughts import load_thoughts, make_thoughts, save_thoughts
from onesearch_fast.train.trainer import RunOptions, quiet_transformers, train_stage

_VALIDATION_CASES = 200  # of each task: enough for a curve, cheap beside the training


@dataclass(frozen=True)
class PipelineResult:
    """Where a run's results are, and what its steps cost."""

    run_folder: Path
    served_folder: Path
    steps: tuple[StepReport, ...]

    @property
    def semantic_id_quality(self) -> dict[str, Any]:
        """The fields of `onesearch_fast.sid.SidQuality`."""
        value: dict[str, Any] = read_json(self.run_folder / "semantic_ids" / "quality.json")
        return value


def run_pipeline(
    split: Split,
    config: PipelineConfig,
    run_dir: str | os.PathLike[str],
    resume: bool = True,
    progress: Progress | None = None,
    fork_from: Sequence[str | os.PathLike[str]] = (),
) -> PipelineResult:
    """Trains a model on `split.log` and writes its served folder, `run_dir/served`.

    Everything that is fitted sees `split.log` alone. The cases of the group "stop" give the
    validation curve, and pick the weights of a stage that has `keep_best`.

    A run that was interrupted goes on where it was: finished steps are kept, and a stage goes on
    from its last checkpoint. Calling again after the end returns at once.

    Several processes (`torchrun --nproc-per-node=2 -m -- onesearch_fast.cli.main train ...`, on
    machines that share `run_dir`) train together: each runs its share of every step.

    Args:
        fork_from: other runs on the same data; steps that they made by the same settings are linked
            instead of made again.

    Raises:
        ValueError: the folder holds a run of other data or another config (the message names what
            differs), or any run at all with `resume=False`; a stage or task that does not exist,
            or a task for which the log has no rows.
    """
    parallel.join()
    stages = [(stage, find_stage(stage.name, stage.tasks)) for stage in config.stages]
    stop_cases = list(_stop_cases(split))
    identity = _identity(split, config, stop_cases)
    donors = _donors([Path(folder) for folder in fork_from], identity, config)
    run = RunFolder(Path(run_dir), progress or Silent(), donors)
    if config.model.checkpoint is not None:
        # What cannot be served in the end is refused before anything is trained.
        check_served(read_checkpoint(config.model.checkpoint).config)
    run.claim(identity, _versions(), resume)
    with quiet_transformers():
        sids = _semantic_ids(run, split.log, config)
        tokenizer = _tokenizer(run, split.log, config, sids)
        prompts = PromptEncoder(tokenizer, Templates.load(config.prompts.template), config.prompts)
        query_codes = _codes_of(sids, _queries(split.log))
        query_items = QueryItems.from_log(split.log) if config.prompts.user_ids else None
        inputs = StageInputs(
            split.log,
            sids.codes,
            query_codes,
            prompts,
            user_ids=None
            if query_items is None
            else UserIds(sids.codebooks.level_sizes, sids.codes.__getitem__, query_items),
        )
        if config.thoughts is not None:
            inputs = _with_thoughts(run, inputs, config.thoughts, sids)
        validation = _Validation(stop_cases, inputs, sids)
        folder = _initial_model(run, split.log, config, tokenizer, sids)
        for number, (settings, stage) in enumerate(stages, start=1):
            name = f"stage_{number}_{stage.name}"
            folder = _train(run, name, config, settings, stage, inputs, validation, folder)
        if parallel.rank() == 0:
            write_curves(run.path)
        served = run.step(
            "served",
            lambda target: write_served(target, folder, sids, prompts, split.log, query_items),
        )
    return PipelineResult(run.path, served, tuple(run.reports))


def _identity(
    split: Split, config: PipelineConfig, stop_cases: Iterable[EvalCase]
) -> dict[str, Any]:
    targets = json.dumps([(case.user_id, case.query, case.target_row) for case in stop_cases])
    return {
        "config": json.loads(json.dumps(config.to_json())),
        **_own_template(config.prompts.template),
        "data": split.log.content_hash(),
        "data_name": split.name,
        "validation": hashlib.sha256(targets.encode()).hexdigest(),
    }


def _donors(
    runs: Iterable[Path], identity: Mapping[str, Any], config: PipelineConfig
) -> dict[str, Path]:
    """Step -> a finished one of another run that was made by the same settings of the same data."""
    donors: dict[str, Path] = {}
    for run in runs:
        found = read_json(run / RUN_FILE)
        if any(found.get(key) != identity.get(key) for key in ("data", "validation", "template")):
            continue
        other = PipelineConfig.from_json(found["config"])
        for name in _shared_steps(config, other):
            if (run / "steps" / f"{name}.json").is_file():
                donors.setdefault(name, run)
    return donors


def _shared_steps(one: PipelineConfig, other: PipelineConfig) -> Iterator[str]:
    """Names of the steps that two configs make alike."""
    if one.sid != other.sid:
        return
    yield "semantic_ids"
    if (one.model, one.prompts) != (other.model, other.prompts):
        return
    yield "tokenizer"
    if one.thoughts == other.thoughts:
        yield "thoughts"
    if (one.seed, one.precision) != (other.seed, other.precision):
        return
    yield "initial_model"
    for number, (stage, same) in enumerate(zip(one.stages, other.stages, strict=False), start=1):
        if stage != same or one.thoughts != other.thoughts:
            return
        yield f"stage_{number}_{stage.name}"


def _own_template(name_or_path: str) -> dict[str, Any]:
    """A template file of the user's own by what it says: it may be edited between two calls."""
    templates = Templates.load(name_or_path)
    return {} if name_or_path in Templates.names() else {"template": templates.to_json()}


def _versions() -> dict[str, str]:
    modules = (onesearch_fast, torch, transformers, tokenizers, np)
    return {module.__name__: str(module.__version__) for module in modules}


def _semantic_ids(run: RunFolder, log: TrainLog, config: PipelineConfig) -> SemanticIds:
    def make(folder: Path) -> None:
        texts = [item_text(item) for item in log.items]
        keywords = open_keywords(config.sid_keywords, log)
        sids = build_semantic_ids(texts, config.sid, run.progress.say, keywords)
        sids.encoder.save(folder / "text_encoder")
        sids.codebooks.save(folder / "codebooks.safetensors")
        arrays = {"codes": sids.codes, "embeddings": sids.embeddings}
        save_file(arrays, folder / "items.safetensors")
        write_json(folder / "quality.json", sids.quality().as_dict())

    folder = run.step("semantic_ids", make)
    arrays = load_file(folder / "items.safetensors")
    encoder = load_text_encoder(folder / "text_encoder")
    codebooks = Codebooks.load(folder / "codebooks.safetensors")
    return SemanticIds(encoder, codebooks, arrays["embeddings"], arrays["codes"])


def _tokenizer(
    run: RunFolder, log: TrainLog, config: PipelineConfig, sids: SemanticIds
) -> SidTokenizer:
    def make(folder: Path) -> None:
        sizes, residual = sids.codebooks.level_sizes, sids.codebooks.num_residual_levels
        markers = Templates.load(config.prompts.template).markers
        checkpoint = config.model.checkpoint
        if checkpoint is None:
            most = config.model.text_vocab_size
            tokenizer = SidTokenizer.train(_texts(log), most, sizes, residual, markers)
        else:
            hf: Any = AutoTokenizer.from_pretrained(checkpoint, local_files_only=True)
            tokenizer = SidTokenizer.extend(hf, sizes, residual, markers)
        tokenizer.save(folder)

    return SidTokenizer.load(run.step("tokenizer", make))


def _texts(log: TrainLog) -> Iterator[str]:
    """What the model will read: each item's texts once, each query as often as it was asked."""
    for item in log.items:
        yield from (item.title, item.brand or "", " > ".join(item.category))
    for history in log.histories:
        yield history.profile or ""
        yield from (event.query for event in history.events if event.query is not None)


def _queries(log: TrainLog) -> set[str]:
    events = (event for history in log.histories for event in history.events)
    return {event.query for event in events if event.query is not None}


def _codes_of(sids: SemanticIds, texts: Iterable[str]) -> dict[str, npt.NDArray[np.int32]]:
    ordered = sorted(texts)
    return dict(zip(ordered, sids.encode(ordered), strict=True)) if ordered else {}


def _with_thoughts(
    run: RunFolder, inputs: StageInputs, config: ThoughtConfig, sids: SemanticIds
) -> StageInputs:
    answers = run.path / "work" / "answers.jsonl"

    def make(folder: Path) -> None:
        save_thoughts(make_thoughts(inputs.log, config, answers), folder)

    thoughts = load_thoughts(run.step("thoughts", make))
    codes = _codes_of(sids, thoughts.all_keywords())
    return replace(inputs, thoughts=thoughts, keyword_codes=codes)


def _initial_model(
    run: RunFolder,
    log: TrainLog,
    config: PipelineConfig,
    tokenizer: SidTokenizer,
    sids: SemanticIds,
) -> Path:
    def make(folder: Path) -> None:
        if config.model.checkpoint is None:
            texts = [item_text(item) for item in log.items]
            model = new_model(
                config.model, tokenizer, texts, sids.embeddings, sids.codes, config.seed
            )
        else:
            titles = [item.title for item in log.items]
            model = extended_model(config.model, tokenizer, titles, sids.codes, config.seed)
        model.save_pretrained(folder)

    return run.step("initial_model", make)


@dataclass(frozen=True, eq=False)
class _Validation:
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


def _stop_cases(split: Split) -> Iterator[EvalCase]:
    for task in sorted(split.cases):
        stop = [case for case in split.cases[task] if case.group == "stop"]
        yield from stop[:_VALIDATION_CASES]


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
    cases, log = preference_cases(inputs), inputs.log
    sizes = inputs.prompts.tokenizer.level_sizes
    trie = SidTrie.build(inputs.item_codes, sizes, item_scores=log.item_popularity())
    relevance = CategoryRelevance(log)
    if settings.dpo is not None:
        towers = settings.dpo.towers
        model = None if towers is None else _reward_model(log, cases, sids, relevance, towers)
        return partial(
            DirectPreference,
            config=settings.dpo,
            cases=cases,
            inputs=inputs,
            trie=trie,
            model=model,
        )
    assert settings.policy is not None, "one of both"
    reward = CompositeReward(log, relevance)
    return partial(
        PolicyGradient,
        config=settings.policy,
        cases=cases,
        inputs=inputs,
        trie=trie,
        reward=reward,
    )


def _reward_model(
    log: TrainLog,
    cases: Sequence[PreferenceCase],
    sids: SemanticIds,
    relevance: RelevanceModel,
    config: TowersConfig,
) -> RewardModel:
    """Three towers over the text encoder's vectors, fitted on the log."""
    sessions = [case.session for case in cases]
    queries = sorted({session.query for session in sessions})
    vectors = dict(zip(queries, sids.encoder.encode(queries), strict=True))
    model = RewardModel(log, sids.embeddings, vectors, relevance, config)
    model.fit(sessions)
    return model


def _train(
    run: RunFolder,
    name: str,
    config: PipelineConfig,
    settings: StageConfig,
    stage: Stage,
    inputs: StageInputs,
    validation: _Validation,
    start: Path,
) -> Path:
    work = run.path / "work" / name

    def make(folder: Path) -> None:
        rows = {task: _task_rows(stage, task, settings, inputs) for task in sorted(settings.tasks)}
        for task, packed in rows.items():
            said = f"{len(packed.student):,} rows, {packed.student.ids.size:,} tokens"
            run.progress.say(f"  {task}: {said}")
        model: PreTrainedModel = open_model(start)
        pad_id = inputs.prompts.tokenizer.pad_id
        options = RunOptions(pad_id, config.seed, config.precision, config.checkpoint_seconds)
        scored = validation.rows(settings.tasks)
        objective = _objective_maker(settings, inputs, validation.sids)
        curves = train_stage(model, rows, settings, options, work, scored, run.progress, objective)
        model.save_pretrained(folder)
        write_json(folder / "curves.json", asdict(curves))

    folder = run.step(name, make, in_every_process=True)
    if parallel.rank() == 0:
        shutil.rmtree(work, ignore_errors=True)
    return folder
