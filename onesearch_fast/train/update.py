"""Near-streaming updates: a served model learns from a new piece of log and is published anew."""

from __future__ import annotations

import json
import os
from pathlib import Path

from onesearch_fast.data.records import item_text
from onesearch_fast.data.split import TrainLog
from onesearch_fast.engine.served_model import MANIFEST, ServedModel
from onesearch_fast.errors import invalid
from onesearch_fast.files import folder_sha256, sha256
from onesearch_fast.models import read_checkpoint
from onesearch_fast.sid.build import SemanticIds
from onesearch_fast.train import parallel
from onesearch_fast.train.checks import check_stages
from onesearch_fast.train.config import PREFERENCE, DpoConfig, PipelineConfig, StageConfig
from onesearch_fast.train.progress import Progress, Silent
from onesearch_fast.train.run_folder import RunFolder
from onesearch_fast.train.serve import write_served
from onesearch_fast.train.stage_runs import Validation, make_inputs, run_stages, with_thoughts
from onesearch_fast.train.thoughts import thought_model
from onesearch_fast.train.trainer import quiet_transformers


def update_config() -> PipelineConfig:
    """A day of log: its searches once, then what was wanted against what was not."""
    return PipelineConfig(
        stages=(
            StageConfig("personalisation", {"search": 1.0}, learning_rate=3e-4),
            StageConfig(PREFERENCE, {"search": 1.0}, learning_rate=1e-4, dpo=DpoConfig()),
        )
    )


def update_served(
    served: str | os.PathLike[str],
    log: TrainLog,
    run_dir: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    config: PipelineConfig | None = None,
    progress: Progress | None = None,
) -> Path:
    """Goes on training a served model on `log` and publishes the result at `out`.

    Tokenizer, prompts, text encoder and code books stay. Items that the served model does not know
    get their codes from them; items that the log's catalogue does not hold are served no longer.
    The new folder is written beside its place and renamed, so that who opens `out` meanwhile finds
    the old model or the new one, never a mixture. An interrupted update goes on where it was.

    Args:
        log: the new piece of log with the whole catalogue, such as the `Split.log` of one day.
        run_dir: of this update alone; another log or config in it is refused.
        out: where to publish; the place of `served` itself is allowed, and the default.
        config: its stages, seed and precision are used; default `update_config()`.

    Raises ServedModelError when `served` is no sound model, ValueError for a log without events, or
    one that has nothing for a task of a stage.
    """
    config = config or update_config()
    parallel.join()
    if not any(history.events for history in log.histories):
        raise invalid("update_served", "log", "at least one click or order", "none")
    run = RunFolder(Path(run_dir), progress or Silent())
    model = ServedModel.load(served)
    check_stages(log, config.stages, read_checkpoint(model.folder).config)
    asked = thought_model(config.thoughts)
    identity = {
        "config": json.loads(json.dumps(config.to_json())),
        "data": log.content_hash(),
        "served": sha256(model.folder / MANIFEST),
        "thought_model": None if asked is None else folder_sha256(asked),
    }
    run.claim(identity, {}, resume=True)
    with quiet_transformers():
        embeddings = model.text_encoder.encode([item_text(item) for item in log.items])
        codes = model.codebooks.encode(embeddings)
        sids = SemanticIds(model.text_encoder, model.codebooks, embeddings, codes)
        inputs = make_inputs(log, sids, model.prompts, config.seed)
        if config.thoughts is not None:
            inputs = with_thoughts(run, inputs, config.thoughts, sids)
        folder = run_stages(run, config, inputs, Validation([], inputs, sids), model.folder)
        target = Path(served if out is None else out)
        if parallel.rank() == 0:
            write_served(target, folder, sids, inputs)
        parallel.barrier()
    return target
