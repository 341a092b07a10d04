"""Runs whose prompts hold long histories: trained, interrupted, rewarded, served, exported."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import TrainerCallback

from onesearch_fast.data.long_history import LongHistoryConfig
from onesearch_fast.data.split import Split, leave_last_out
from onesearch_fast.data.synthetic import make_synthetic
from onesearch_fast.engine.searcher import Searcher
from onesearch_fast.engine.served_model import LONG_HISTORY, ServedModel
from onesearch_fast.evaluate.generative import GenerativeRanker
from onesearch_fast.files import sha256
from onesearch_fast.nn import LongHistoryQFormer
from onesearch_fast.train import trainer
from onesearch_fast.train.config import (
    PREFERENCE,
    DpoConfig,
    PipelineConfig,
    PolicyConfig,
    StageConfig,
    TowersConfig,
    smoke_config,
)
from onesearch_fast.train.pipeline import run_pipeline
from onesearch_fast.train.serve import export_served
from onesearch_fast.train.update import update_served

# A model of some steps finds nearly the same items for everybody, less what each already had.
NUM_BEAMS = 64


@pytest.fixture(scope="module")
def split() -> Split:
    return leave_last_out(make_synthetic(seed=3, num_items=200, num_users=60).dataset)


def config_of(architecture: str = "qwen3") -> PipelineConfig:
    """One stage, whose prompts show an event or two."""
    plain = smoke_config()
    prompts = replace(plain.prompts, max_history_events=2, long_history=LongHistoryConfig())
    model = replace(plain.model, architecture=architecture)
    last = StageConfig(
        "personalisation",
        {"search": 1.0, "next_item": 0.5},
        tokens_per_batch=1024,
        validations=2,
        keep_best=True,
    )
    return replace(plain, prompts=prompts, model=model, stages=(last,), thoughts=None)


@pytest.fixture(scope="module")
def finished(split: Split, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_pipeline(split, config_of(), tmp_path_factory.mktemp("run")).run_folder


def test_vectors_are_trained_and_served(finished: Path, split: Split, tmp_path: Path) -> None:
    start, end = (
        LongHistoryQFormer.load(finished / step / LONG_HISTORY).state_dict()
        for step in ("initial_model", "served")
    )
    unchanged = {name for name in start if torch.equal(start[name], end[name])}
    assert unchanged == {"centroids"}
    ranker = GenerativeRanker(Searcher.load(finished / "served"), split.log.items, NUM_BEAMS)
    assert (ranker.rank(split.cases["search"][:20], 5) >= 0).all()
    export_served(finished, tmp_path / "exported")
    exported = ServedModel.load(tmp_path / "exported").long_history
    assert exported is not None
    assert all(torch.equal(exported.state_dict()[name], end[name]) for name in end)


class KilledError(Exception):
    pass


class Kill(TrainerCallback):
    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == state.max_steps * 3 // 4:
            raise KilledError


def test_an_interrupted_run_ends_alike(
    finished: Path, split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(config_of(), checkpoint_seconds=0.0)
    original = trainer._SidTrainer.train

    def train(self, *args, **kwargs):
        self.add_callback(Kill())
        return original(self, *args, **kwargs)

    monkeypatch.setattr(trainer._SidTrainer, "train", train)
    with pytest.raises(KilledError):
        run_pipeline(split, config, tmp_path)
    monkeypatch.undo()
    served = run_pipeline(split, config, tmp_path).served_folder
    for name in (LONG_HISTORY, "model.safetensors"):
        assert sha256(served / name) == sha256(finished / "served" / name), name


@pytest.mark.parametrize("architecture", ["gpt2", "bart"])
def test_other_shapes_learn_vectors(architecture: str, split: Split, tmp_path: Path) -> None:
    served = run_pipeline(split, config_of(architecture), tmp_path / "run").served_folder
    ranker = GenerativeRanker(Searcher.load(served), split.log.items, NUM_BEAMS)
    assert (ranker.rank(split.cases["search"][:8], 5) >= 0).all()


@pytest.mark.parametrize(
    "learnt",
    [
        {"policy": PolicyConfig(rollouts=3, reference_kl=0.1)},
        {"dpo": DpoConfig(towers=TowersConfig(epochs=1), candidates=8)},
    ],
    ids=["policy", "dpo"],
)
def test_preferences_move_vectors(
    learnt: dict, finished: Path, split: Split, tmp_path: Path
) -> None:
    stage = StageConfig(PREFERENCE, {"search": 1.0}, max_minutes=0.02, **learnt)
    config = replace(smoke_config(), stages=(stage,), thoughts=None)
    out = update_served(
        finished / "served", split.log, tmp_path / "run", tmp_path / "served", config
    )
    before, after = (
        LongHistoryQFormer.load(folder / LONG_HISTORY) for folder in (finished / "served", out)
    )
    assert not torch.equal(before.queries, after.queries)
    ServedModel.load(out)
