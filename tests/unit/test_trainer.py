import itertools
import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import transformers
from transformers import Qwen3Config, Qwen3ForCausalLM, TrainerCallback

from onesearch_fast.data.prompts import Row
from onesearch_fast.train import trainer as trainer_module
from onesearch_fast.train.config import StageConfig
from onesearch_fast.train.rows import TokenRows
from onesearch_fast.train.steps import TaskRows
from onesearch_fast.train.trainer import RunOptions, last_checkpoint, train_stage

VOCABULARY = 30
OPTIONS = RunOptions(pad_id=0, precision="float32")
EVERY_STEP = replace(OPTIONS, checkpoint_seconds=0.0)
CONFIG = StageConfig("toy", {"copy": 1.0}, epochs=2, tokens_per_batch=64, validations=2)


def tiny_model() -> Qwen3ForCausalLM:
    torch.manual_seed(0)
    return Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=VOCABULARY,
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=8,
            intermediate_size=32,
            tie_word_embeddings=True,
        )
    )


def copy_rows(count: int, seed: int = 0) -> TokenRows:
    """Rows "x y x y": the second half is to be learnt."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(count):
        row, half = Row(), rng.integers(1, VOCABULARY, rng.integers(2, 5)).tolist()
        row.add(half, False)
        row.add(half, True)
        rows.append(row)
    return TokenRows.pack(rows)


def successor_rows(count: int, seed: int = 0) -> TokenRows:
    """Rows of random tokens whose last token, to be learnt, follows from the one before."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(count):
        row, shown = Row(), rng.integers(1, VOCABULARY, rng.integers(1, 6)).tolist()
        row.add(shown, False)
        row.add([shown[-1] % (VOCABULARY - 1) + 1], True)
        rows.append(row)
    return TokenRows.pack(rows)


class KilledError(Exception):
    pass


class KillAt(TrainerCallback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            raise KilledError


@pytest.fixture
def kill_at(monkeypatch):
    """Makes the next training raise before a step, as a kill would leave it."""

    def arm(step: int) -> None:
        original = trainer_module._SidTrainer.train

        def train(self, *args, **kwargs):
            self.add_callback(KillAt(step))
            return original(self, *args, **kwargs)

        monkeypatch.setattr(trainer_module._SidTrainer, "train", train)

    yield arm
    monkeypatch.undo()


def recorded_seconds(folder) -> float:
    state = json.loads((last_checkpoint(folder) / "trainer_state.json").read_text())
    return state["stateful_callbacks"]["_Clock"]["attributes"]["seconds"]


def assert_same_weights(one, other) -> None:
    for name, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


def test_a_resumed_run_ends_with_the_weights_of_a_whole_run(tmp_path, kill_at, monkeypatch):
    rows = {"copy": TaskRows(copy_rows(30))}
    whole = tiny_model()
    curves = train_stage(whole, rows, CONFIG, OPTIONS, tmp_path / "whole")
    killed = tiny_model()
    kill_at(curves.steps // 2)
    with pytest.raises(KilledError):
        train_stage(killed, rows, CONFIG, EVERY_STEP, tmp_path / "killed")
    monkeypatch.undo()
    resumed = tiny_model()
    again = train_stage(resumed, rows, CONFIG, EVERY_STEP, tmp_path / "killed")
    assert_same_weights(resumed, whole)
    assert again.steps == curves.steps and again.tokens == curves.tokens
    assert again.seconds > recorded_seconds(tmp_path / "killed") > 0.0
    assert [point["step"] for point in again.points] == [point["step"] for point in curves.points]


def test_a_resumed_run_says_where_it_goes_on_and_misses_no_tied_weight(
    tmp_path, kill_at, monkeypatch
):
    rows, said, warned = {"copy": TaskRows(copy_rows(30))}, [], []
    kill_at(3)
    with pytest.raises(KilledError):
        train_stage(tiny_model(), rows, CONFIG, EVERY_STEP, tmp_path)
    monkeypatch.undo()
    monkeypatch.setattr(transformers.trainer.logger, "warning", warned.append)
    progress = SimpleNamespace(say=said.append, training=lambda *_: None)
    curves = train_stage(tiny_model(), rows, CONFIG, EVERY_STEP, tmp_path, progress=progress)
    assert said == [f"  goes on from step 3 of at most {curves.steps}"]
    assert warned == []


def test_a_broken_checkpoint_is_dropped_for_the_one_before(tmp_path, kill_at):
    kill_at(3)
    with pytest.raises(KilledError):
        train_stage(tiny_model(), {"copy": TaskRows(copy_rows(30))}, CONFIG, EVERY_STEP, tmp_path)
    newest = last_checkpoint(tmp_path)
    shutil.copytree(newest, tmp_path / "checkpoint-900")
    (tmp_path / "checkpoint-900" / "trainer_state.json").write_text('{"global_')
    assert last_checkpoint(tmp_path) == newest
    assert not (tmp_path / "checkpoint-900").exists()


def test_the_loss_is_the_mean_over_label_positions_of_the_full_softmax(tmp_path):
    rows = copy_rows(6)
    model = tiny_model()
    config = StageConfig("toy", {"copy": 1.0}, tokens_per_batch=10_000, validations=1)
    expected = []
    with torch.no_grad():
        for row in range(len(rows)):
            span = slice(rows.begin[row], rows.begin[row + 1])
            ids = torch.from_numpy(rows.ids[span].astype(np.int64))
            logits = model(input_ids=ids[None]).logits[0]
            losses = torch.nn.functional.cross_entropy(logits[:-1], ids[1:], reduction="none")
            expected += losses[torch.from_numpy(rows.learnt[span])[1:]].tolist()
    curves = train_stage(model, {"copy": TaskRows(rows)}, config, OPTIONS, tmp_path)
    assert curves.points[0]["loss"] == pytest.approx(np.mean(expected), abs=1e-4)


def test_training_learns_and_validation_sees_it(tmp_path):
    config = StageConfig("toy", {"copy": 1.0}, epochs=8, tokens_per_batch=256, learning_rate=2e-2)
    model = tiny_model()
    curves = train_stage(
        model,
        {"copy": TaskRows(successor_rows(500))},
        config,
        OPTIONS,
        tmp_path,
        successor_rows(50, seed=1),
    )
    losses = [point["loss"] for point in curves.validations]
    assert len(losses) == 4
    assert losses[-1] < 0.5 * losses[0]
    assert curves.points[-1]["loss"] < 0.5 * curves.points[0]["loss"]


def test_the_best_weights_are_kept_when_asked_for(tmp_path):
    config = StageConfig(
        "toy",
        {"copy": 1.0},
        epochs=60,
        tokens_per_batch=64,
        learning_rate=2e-2,
        validations=12,
        keep_best=True,
    )
    model = tiny_model()
    validation = copy_rows(20, seed=1)
    curves = train_stage(
        model, {"copy": TaskRows(copy_rows(8))}, config, OPTIONS, tmp_path, validation
    )
    losses = [point["loss"] for point in curves.validations]
    assert min(losses) < losses[-1], "eight rows are learnt by heart: validation must get worse"
    config = StageConfig("toy", {"copy": 1.0}, validations=1, learning_rate=0.0)
    after = train_stage(
        model, {"copy": TaskRows(copy_rows(8))}, config, OPTIONS, tmp_path / "2", validation
    )
    assert after.validations[0]["loss"] == pytest.approx(min(losses), rel=1e-4)


def test_a_stage_ends_when_validation_gets_no_better(tmp_path):
    """The same run as without patience, up to the third validation behind the best."""
    plain = StageConfig(
        "toy",
        {"copy": 1.0},
        epochs=60,
        tokens_per_batch=64,
        learning_rate=2e-2,
        validations=12,
        keep_best=True,
    )
    rows, validation = {"copy": TaskRows(copy_rows(8))}, copy_rows(20, seed=1)
    found = []
    for config in (plain, replace(plain, patience=3)):
        model, folder = tiny_model(), tmp_path / str(config.patience)
        curves = train_stage(model, rows, config, OPTIONS, folder, validation)
        found.append([point["loss"] for point in curves.validations])
    losses, stopped = found
    since_best = [at - losses.index(min(losses[: at + 1])) for at in range(len(losses))]
    assert 3 in since_best, "eight rows are learnt by heart: validation must get worse"
    assert stopped == losses[: since_best.index(3) + 1]


def test_a_time_limit_shortens_the_schedule_and_does_not_cut_it(tmp_path, monkeypatch):
    ticks = itertools.count()
    clock = SimpleNamespace(monotonic=lambda: 0.1 * next(ticks))
    monkeypatch.setattr(trainer_module, "time", clock)
    config = StageConfig("toy", {"copy": 1.0}, epochs=50_000, max_minutes=0.5, validations=1)
    curves = train_stage(tiny_model(), {"copy": TaskRows(copy_rows(4))}, config, OPTIONS, tmp_path)
    rates = [point["learning_rate"] for point in curves.points]
    assert 10 < curves.steps <= 300
    assert 30 <= curves.seconds < 33
    assert max(rates) > 0.9 * config.learning_rate
    assert rates[-1] < 0.1 * config.learning_rate


def test_a_task_without_rows_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"tasks with rows, got none in \['copy'\]"):
        train_stage(tiny_model(), {"copy": TaskRows(copy_rows(0))}, CONFIG, OPTIONS, tmp_path)
