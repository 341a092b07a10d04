"""A whole run: semantic IDs, tokenizer, stages, served folder."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
import torch
import transformers
from safetensors.numpy import load_file, save_file
from transformers import AutoTokenizer

import onesearch_fast
from onesearch_fast.data.keyword_mining import MINED, open_keywords
from onesearch_fast.data.prompts import PromptEncoder, Templates
from onesearch_fast.data.records import item_text
from onesearch_fast.data.split import EvalCase, Split, TrainLog
from onesearch_fast.data.tokenizer import SidTokenizer
from onesearch_fast.files import folder_sha256, read_json, sha256, write_json
from onesearch_fast.models import check_served, read_checkpoint
from onesearch_fast.sid import Codebooks, load_text_encoder
from onesearch_fast.sid.build import SemanticIds, build_semantic_ids, check_training_log
from onesearch_fast.sid.config import TFIDF
from onesearch_fast.sid.nearest import count_distinct
from onesearch_fast.train import parallel
from onesearch_fast.train.checks import check_level_sizes, check_stages
from onesearch_fast.train.config import PipelineConfig
from onesearch_fast.train.model import extended_model, new_model, save_trained, with_long_history
from onesearch_fast.train.progress import Progress, Silent
from onesearch_fast.train.run_folder import RUN_FILE, RunFolder, StepReport
from onesearch_fast.train.serve import write_served
from onesearch_fast.train.stage_runs import (
    Validation,
    make_inputs,
    run_stages,
    with_thoughts,
)
from onesearch_fast.train.thoughts import thought_model
from onesearch_fast.train.trainer import quiet_transformers

_ENCODER, _CHECKPOINT, _THOUGHT_MODEL = _FOLDERS = ("encoder", "checkpoint", "thought_model")
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
            or a task for which the log has no rows; too few items for a trie of their SIDs.
    """
    parallel.join()
    check_level_sizes(len({item_text(item) for item in split.log.items}), config.sid)
    check_stages(split.log, config.stages, _checkpoint_config(config))
    stop_cases = list(_stop_cases(split))
    identity = _identity(split, config, stop_cases)
    donors = _donors([Path(folder) for folder in fork_from], identity, config)
    run = RunFolder(Path(run_dir), progress or Silent(), donors)
    run.claim(identity, _versions(), resume)
    with quiet_transformers():
        sids = _semantic_ids(run, split.log, config)
        tokenizer = _tokenizer(run, split.log, config, sids)
        prompts = PromptEncoder(tokenizer, Templates.load(config.prompts.template), config.prompts)
        inputs = make_inputs(split.log, sids, prompts, config.seed)
        if config.thoughts is not None:
            inputs = with_thoughts(run, inputs, config.thoughts, sids)
        folder = _initial_model(run, split.log, config, tokenizer, sids)
        folder = run_stages(run, config, inputs, Validation(stop_cases, inputs, sids), folder)
        served = run.step("served", lambda target: write_served(target, folder, sids, inputs))
    return PipelineResult(run.path, served, tuple(run.reports))


def _checkpoint_config(config: PipelineConfig) -> Any:
    """What a checkpoint says of itself; one that could not be served in the end is refused."""
    if config.model.checkpoint is None:
        return None
    found = read_checkpoint(config.model.checkpoint).config
    check_served(found)
    return found


def _identity(
    split: Split, config: PipelineConfig, stop_cases: Iterable[EvalCase]
) -> dict[str, Any]:
    targets = json.dumps([(case.user_id, case.query, case.target_row) for case in stop_cases])
    return {
        "config": json.loads(json.dumps(config.to_json())),
        **_own_template(config.prompts.template),
        **_own_keywords(config.sid_keywords),
        **_own_folders(config),
        "data": split.log.content_hash(),
        "data_name": split.name,
        "validation": hashlib.sha256(targets.encode()).hexdigest(),
    }


def _donors(
    runs: Iterable[Path], identity: Mapping[str, Any], config: PipelineConfig
) -> dict[str, Path]:
    """Step -> a finished one of another run that was made by the same settings of the same data."""
    donors: dict[str, Path] = {}
    of_every_step = ("data", "validation", "template", "keywords")
    for run in runs:
        found = read_json(run / RUN_FILE)
        if any(found.get(key) != identity.get(key) for key in of_every_step):
            continue
        other = PipelineConfig.from_json(found["config"])
        changed = [key for key in _FOLDERS if found.get(key) != identity.get(key)]
        for name in _shared_steps(config, other, changed):
            if (run / "steps" / f"{name}.json").is_file():
                donors.setdefault(name, run)
    return donors


def _shared_steps(
    one: PipelineConfig, other: PipelineConfig, changed: Collection[str]
) -> Iterator[str]:
    """Names of the steps that two configs make alike.

    changed: those of `_FOLDERS` that hold something else, be it by the same name.
    """
    if (one.sid, one.sid_keywords) != (other.sid, other.sid_keywords) or _ENCODER in changed:
        return
    yield "semantic_ids"
    if (one.model, one.prompts) != (other.model, other.prompts) or _CHECKPOINT in changed:
        return
    yield "tokenizer"
    same_thoughts = one.thoughts == other.thoughts and _THOUGHT_MODEL not in changed
    if same_thoughts:
        yield "thoughts"
    if (one.seed, one.precision) != (other.seed, other.precision):
        return
    yield "initial_model"
    for number, (stage, same) in enumerate(zip(one.stages, other.stages, strict=False), start=1):
        if stage != same or not same_thoughts:
            return
        yield f"stage_{number}_{stage.name}"


def _own_template(name_or_path: str) -> dict[str, Any]:
    """A template file of the user's own by what it says: it may be edited between two calls."""
    templates = Templates.load(name_or_path)
    return {} if name_or_path in Templates.names() else {"template": templates.to_json()}


def _own_keywords(source: str | None) -> dict[str, str]:
    """A keyword file by its content, for the same reason."""
    if source is None or source == MINED:
        return {}
    return {"keywords": sha256(source)}


def _own_folders(config: PipelineConfig) -> dict[str, str]:
    """Folders that are read by what they hold: an encoder or a model may be made anew in place."""
    encoder = None if config.sid.encoder == TFIDF else config.sid.encoder
    named = (encoder, config.model.checkpoint, thought_model(config.thoughts))
    return {
        key: folder_sha256(folder)
        for key, folder in zip(_FOLDERS, named, strict=True)
        if folder is not None
    }


def _versions() -> dict[str, str]:
    modules = (onesearch_fast, torch, transformers, tokenizers, np)
    return {module.__name__: str(module.__version__) for module in modules}


def _semantic_ids(run: RunFolder, log: TrainLog, config: PipelineConfig) -> SemanticIds:
    def make(folder: Path) -> None:
        check_training_log("run_pipeline", config.sid, log.content_hash())
        texts = [item_text(item) for item in log.items]
        keywords = open_keywords(config.sid_keywords, log)
        sids = build_semantic_ids(texts, config.sid, run.progress.say, keywords)
        check_level_sizes(count_distinct(sids.embeddings), config.sid)
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
        if config.prompts.long_history is not None:
            with_long_history(model, config.prompts.long_history, sids.codebooks, config.seed)
        save_trained(model, folder)

    return run.step("initial_model", make)


def _stop_cases(split: Split) -> Iterator[EvalCase]:
    for task in sorted(split.cases):
        stop = [case for case in split.cases[task] if case.group == "stop"]
        yield from stop[:_VALIDATION_CASES]
