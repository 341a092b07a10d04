"""What cannot be trained is refused before time is spent; what is thin is trained all the same."""

from dataclasses import replace

import pytest

from onesearch_fast.data.split import leave_last_out
from onesearch_fast.data.synthetic import make_synthetic
from onesearch_fast.data.tokenizer import SidTokenizer
from onesearch_fast.errors import FormatError
from onesearch_fast.train.config import (
    ObjectiveConfig,
    PipelineConfig,
    PolicyConfig,
    StageConfig,
    ThoughtConfig,
    smoke_config,
)
from onesearch_fast.train.losses.distillation import Distillation
from onesearch_fast.train.losses.r_drop import RDrop
from onesearch_fast.train.pipeline import run_pipeline


@pytest.fixture(scope="module")
def dataset():
    return make_synthetic(seed=3, num_items=200, num_users=20).dataset


def test_a_log_without_queries_cannot_teach_searching(dataset, tmp_path):
    rows = tuple(replace(row, query=None) for row in dataset.interactions)
    split = leave_last_out(replace(dataset, interactions=rows))
    with pytest.raises(
        ValueError, match=r"stage 'alignment': tasks .* expected a log with queries"
    ):
        run_pipeline(split, smoke_config(), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def with_last_stage(**changes) -> PipelineConfig:
    *before, last = smoke_config().stages
    return replace(smoke_config(), stages=(*before, replace(last, **changes)))


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        (with_last_stage(objective=ObjectiveConfig(r_drop=RDrop())), "dropout: expected more than"),
        (
            with_last_stage(
                tasks={"next_item": 1.0}, objective=ObjectiveConfig(distillation=Distillation())
            ),
            r"stage 'personalisation': tasks of a distillation: expected some of \['search'\]",
        ),
        (
            replace(smoke_config(), thoughts=ThoughtConfig("no/such/model")),
            "source: expected 'mined', or the folder of a causal LM, got no/such/model",
        ),
        (with_last_stage(tasks={"serch": 1.0}), r"tasks: expected some of .* got \['serch'\]"),
    ],
)
def test_what_a_late_stage_cannot_do_is_refused_before_any_other(
    dataset, tmp_path, config, complaint
):
    with pytest.raises(ValueError, match=complaint):
        run_pipeline(leave_last_out(dataset), config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("stage", "complaint"),
    [
        (0, r"tasks: expected tasks with rows, got none in \['user_query_to_keywords'\]"),
        (2, "distillation: expected keywords of some query, for the teacher, got none"),
    ],
)
def test_queries_without_keywords_are_refused_before_training(dataset, tmp_path, stage, complaint):
    """Every query is one that nobody else asked, of no item's words."""
    rows = tuple(replace(row, query=f"zz{row.session_id}") for row in dataset.interactions)
    split = leave_last_out(replace(dataset, interactions=rows))
    config = smoke_config()
    with pytest.raises(ValueError, match=complaint):
        run_pipeline(split, replace(config, stages=config.stages[stage : stage + 1]), tmp_path)
    assert not list(tmp_path.glob("stage_*"))


def test_users_without_a_past_are_learnt_from(dataset, tmp_path):
    clicks = [row for row in dataset.interactions if row.event == "click"]
    lonely = tuple(replace(row, user_id=f"lonely {n}") for n, row in enumerate(clicks))
    split = leave_last_out(replace(dataset, users=(), interactions=lonely))
    config = with_last_stage(tasks={"next_item": 1.0}, objective=ObjectiveConfig())
    config = replace(config, prompts=replace(config.prompts, profiles=False))
    result = run_pipeline(split, replace(config, stages=config.stages[1:]), tmp_path)
    assert (result.served_folder / "manifest.json").is_file()


def test_no_orders_one_event_users_and_unknown_queries_are_learnt_from(dataset, tmp_path):
    """Clicks alone; users of one event; queries that nobody else asked have no keywords."""
    clicks = [row for row in dataset.interactions if row.event == "click"]
    lonely = [
        replace(row, user_id=f"lonely {n}", query=f"zz {n}") for n, row in enumerate(clicks[:5])
    ]
    split = leave_last_out(replace(dataset, interactions=(*clicks, *lonely)))
    config = smoke_config()
    last = StageConfig("preference", {"search": 0.5}, policy=PolicyConfig(rollouts=4))
    run = replace(config, stages=(*config.stages[2:], last))
    result = run_pipeline(split, run, tmp_path)
    assert (result.served_folder / "manifest.json").is_file()


def test_a_tokenizer_without_codes_is_refused(tmp_path):
    texts = ["red dress", "blue boots"]
    tokenizer = SidTokenizer.train(texts, 300, (4, 4), 2, ())
    tokenizer.hf.save_pretrained(tmp_path)
    with pytest.raises(FormatError, match="this tokenizer has no code tokens"):
        SidTokenizer.load(tmp_path)
