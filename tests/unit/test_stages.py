import json
import math
from dataclasses import replace

import numpy as np
import pytest

from onesearch_fast.data.cot import Thoughts
from onesearch_fast.data.prompts import PromptEncoder, Templates
from onesearch_fast.data.records import Item
from onesearch_fast.data.split import EvalCase, Event, TrainLog, UserHistory
from onesearch_fast.data.tokenizer import SidTokenizer
from onesearch_fast.train.config import (
    PipelineConfig,
    StageConfig,
    demo_config,
    read_config,
    real_config,
    smoke_config,
)
from onesearch_fast.train.stages import StageInputs, discover_stages, find_stage
from onesearch_fast.train.stages.any_order import ORDERS
from onesearch_fast.train.stages.personalisation import validation_rows
from onesearch_fast.train.suggest import suggest_config

SIZES = (4, 4)
ITEMS = (
    Item("a", "red dress", category=("women", "dresses", "summer")),
    Item("b", "blue boots", category=("women", "shoes")),
    Item("c", ""),
)
HISTORIES = (
    UserHistory(
        "u",
        "age 30",
        (Event(1, 0, "click", "dress"), Event(2, 1, "order", None), Event(3, 1, "click", "boots")),
    ),
    UserHistory("v", None, (Event(1, 1, "click", "boots"), Event(2, 0, "click", "boots"))),
    UserHistory("w", None, (Event(5, 1, "click", "boots"),)),
)
CODES = np.array([[0, 1], [2, 3], [1, 1]], dtype=np.int32)
QUERY_CODES = {"boots": np.array([2, 2], np.int32), "dress": np.array([0, 0], np.int32)}


@pytest.fixture(scope="module")
def inputs() -> StageInputs:
    templates = Templates.load("compact")
    texts = ["red dress", "blue boots", "women > dresses", "women > shoes", "age 30"] * 3
    tokenizer = SidTokenizer.train(texts, 320, SIZES, 2, templates.markers)
    return StageInputs(
        TrainLog(ITEMS, HISTORIES), CODES, QUERY_CODES, PromptEncoder(tokenizer, templates)
    )


def spelled(inputs: StageInputs, stage: str, task: str) -> list[str]:
    """Rows as text, "input => what is learnt"."""
    hf, lines = inputs.prompts.tokenizer.hf, []
    for row in discover_stages()[stage].tasks[task](inputs):
        first = row.learnt.index(True)
        assert all(row.learnt[first:]), "a pair is learnt from its target on"
        parts = (row.ids[:first], row.ids[first:])
        lines.append(" => ".join(hf.decode(part).replace(" ", "") for part in parts))
    return lines


def test_stages_are_found_in_their_files():
    assert set(discover_stages()) == {
        "alignment",
        "any_order",
        "cooccurrence",
        "personalisation",
        "preference",
    }


def test_alignment_says_codes_in_words_and_words_in_codes(inputs):
    assert spelled(inputs, "alignment", "query_to_sid") == [
        "<task_query_to_sid>boots<answer> => <a_2><b_2>",
        "<task_query_to_sid>dress<answer> => <a_0><b_0>",
    ]
    assert spelled(inputs, "alignment", "sid_to_query")[0] == (
        "<task_sid_to_query><a_2><b_2><answer> => boots<eos>"
    )
    assert spelled(inputs, "alignment", "title_to_sid") == [
        "<task_title_to_sid>reddress<answer> => <a_0><b_1>",
        "<task_title_to_sid>blueboots<answer> => <a_2><b_3>",
    ]
    assert len(spelled(inputs, "alignment", "sid_to_title")) == 2  # one item has no title


def test_alignment_names_the_two_coarse_category_levels(inputs):
    assert spelled(inputs, "alignment", "sid_to_category") == [
        "<task_sid_to_category><a_0><b_1><answer> => women>dresses<eos>",
        "<task_sid_to_category><a_2><b_3><answer> => women>shoes<eos>",
    ]
    # "boots" led to a dress once and to boots three times.
    assert spelled(inputs, "alignment", "query_to_category")[0].endswith("women>shoes<eos>")
    assert len(spelled(inputs, "alignment", "title_to_category")) == 2


@pytest.fixture(scope="module")
def taught(inputs) -> StageInputs:
    of_query = {"boots": ("blue", "boots"), "dress": ("red",)}
    of_turn = {("u", 0): ("red",), ("u", 2): (), ("v", 0): ("boots",), ("v", 1): ("blue", "boots")}
    return replace(
        inputs,
        thoughts=Thoughts(of_query, {**of_turn, ("w", 0): ()}),
        keyword_codes={
            "red": np.array([0, 0], np.int32),
            "blue": np.array([3, 3], np.int32),
            "boots": np.array([2, 2], np.int32),
        },
    )


def test_keyword_tasks_name_keywords_and_their_codes(taught):
    assert spelled(taught, "alignment", "query_to_keywords") == [
        "<task_query_to_keywords>boots<answer> => blue,boots<eos>",
        "<task_query_to_keywords>dress<answer> => red<eos>",
    ]
    assert spelled(taught, "alignment", "query_sid_to_keyword_sid") == [
        "<task_query_sid_to_keyword_sid><a_2><b_2><answer> => <a_3><b_3>",
        "<task_query_sid_to_keyword_sid><a_2><b_2><answer> => <a_2><b_2>",
        "<task_query_sid_to_keyword_sid><a_0><b_0><answer> => <a_0><b_0>",
    ]


def test_keyword_tasks_of_a_user_show_what_came_before_the_session(taught):
    rows = spelled(taught, "alignment", "user_query_to_keywords")
    assert rows == [
        "<task_user_query_to_keywords><profile>age30<query>dress<answer> => red<eos>",
        "<task_user_query_to_keywords><query>boots<answer> => boots<eos>",
        "<task_user_query_to_keywords><query>boots<answer> => blue,boots<eos>",
    ]
    assert len(spelled(taught, "alignment", "user_query_sid_to_keyword_sid")) == 4


def test_keyword_tasks_without_keywords_are_refused(inputs):
    with pytest.raises(ValueError, match="thoughts: expected keywords of the log"):
        spelled(inputs, "alignment", "query_to_keywords")


def test_the_teacher_reads_keywords_and_learns_the_same(taught):
    stage = discover_stages()["personalisation"]
    students = list(stage.tasks["search"](taught))
    teachers = list(stage.teachers["search"](taught))
    for student, teacher in zip(students, teachers, strict=True):
        learnt = [
            [id for id, label in zip(row.ids, row.learnt, strict=True) if label]
            for row in (student, teacher)
        ]
        assert learnt[0] == learnt[1]
    text = taught.prompts.tokenizer.hf.decode(teachers[1].ids).replace(" ", "")
    assert text == (
        "<task_search><query>boots<query_sid><a_2><b_2><keywords>boots<item><a_2><b_3>"
        "<query>boots<query_sid><a_2><b_2><keywords>blue,boots<item><a_0><b_1>"
    )


def test_cooccurrence_has_a_row_for_every_event_with_a_query(inputs):
    assert sorted(spelled(inputs, "cooccurrence", "query_to_item")) == [
        "<task_query_to_item>boots<answer> => <a_0><b_1>",
        "<task_query_to_item>boots<answer> => <a_2><b_3>",
        "<task_query_to_item>boots<answer> => <a_2><b_3>",
        "<task_query_to_item>boots<answer> => <a_2><b_3>",
        "<task_query_to_item>dress<answer> => <a_0><b_1>",
    ]
    assert len(spelled(inputs, "cooccurrence", "query_sid_to_item")) == 5
    assert len(spelled(inputs, "cooccurrence", "query_to_title")) == 5
    assert len(spelled(inputs, "cooccurrence", "title_to_query")) == 5


def test_cooccurrence_shows_no_user(inputs):
    for task in discover_stages()["cooccurrence"].tasks:
        assert not any("age30" in line for line in spelled(inputs, "cooccurrence", task))


def test_personalisation_has_one_row_a_user(inputs):
    tasks = discover_stages()["personalisation"].tasks
    search, next_item = list(tasks["search"](inputs)), list(tasks["next_item"](inputs))
    assert [sum(row.learnt) // len(SIZES) for row in search] == [2, 2, 1]
    assert [sum(row.learnt) // len(SIZES) for row in next_item] == [3, 2, 1]
    text = inputs.prompts.tokenizer.hf.decode(search[0].ids).replace(" ", "")
    assert text == (
        "<task_search><profile>age30<query>dress<query_sid><a_0><b_0><item><a_0><b_1>"
        "<item><a_2><b_3><query>boots<query_sid><a_2><b_2><item><a_2><b_3>"
    )


def test_any_order_mixes_each_user_s_events(inputs):
    stage = discover_stages()["any_order"]
    rows = list(stage.tasks["next_item"](inputs))
    assert [row.ids for row in rows] == [row.ids for row in stage.tasks["next_item"](inputs)]
    assert len(rows) == ORDERS * len(HISTORIES)
    spelt = [inputs.prompts.tokenizer.hf.decode(row.ids).replace(" ", "") for row in rows]
    for place, line in enumerate(spelt):
        events = HISTORIES[place // ORDERS].events
        turns = line.split("<item>")[1:]
        assert sorted(turns) == sorted("<a_{}><b_{}>".format(*CODES[one.row]) for one in events)
    assert len(set(spelt[:ORDERS])) > 1
    other = stage.tasks["next_item"](replace(inputs, seed=1))
    assert [row.ids for row in rows] != [row.ids for row in other]


def test_any_order_keeps_a_query_with_its_item(inputs):
    for row in discover_stages()["any_order"].tasks["search"](inputs):
        text = inputs.prompts.tokenizer.hf.decode(row.ids).replace(" ", "")
        for turn in text.split("<query>")[1:]:
            query, item = turn.split("<query_sid>")[0], turn.split("<item>")[1]
            assert (query, item) in {
                ("dress", "<a_0><b_1>"),
                ("boots", "<a_0><b_1>"),
                ("boots", "<a_2><b_3>"),
            }


def test_validation_scores_the_target_behind_the_served_prompt(inputs):
    case = EvalCase("u", "age 30", HISTORIES[0].events[:1], "boots", None, 1, "stop", 4, 4)
    (row,) = validation_rows([case], inputs)
    history = inputs.turns(UserHistory("u", "age 30", case.history))
    prompt = inputs.prompts.search_prompt("age 30", history, "boots", QUERY_CODES["boots"])
    assert row.ids[: len(prompt)] == prompt
    assert row.ids[len(prompt) :] == inputs.prompts.tokenizer.code_ids(CODES[1]).tolist()
    assert row.learnt == [False] * len(prompt) + [True, True]


@pytest.mark.parametrize(
    ("name", "tasks", "complaint"),
    [
        ("warmup", ["search"], "find_stage: name: expected one of"),
        ("alignment", ["search"], r"stage 'alignment': tasks: .* got \['search'\]"),
    ],
)
def test_unknown_stages_and_tasks_are_refused(name, tasks, complaint):
    with pytest.raises(ValueError, match=complaint):
        find_stage(name, tasks)


@pytest.mark.parametrize("config", [demo_config(), real_config(), smoke_config()])
def test_configs_name_tasks_that_exist_and_survive_json(config):
    for stage in config.stages:
        find_stage(stage.name, stage.tasks)
    assert PipelineConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ({"model": {"hiden_size": 3}}, "did you mean hidden_size"),
        ({"stagez": []}, "config: stagez: .* an unknown key; did you mean stages"),
        ({"model": {"num_layers": "four"}}, "config.model: num_layers: expected a int, got four"),
        ({"stages": [{"name": "alignment"}]}, "missing 1 required positional argument: 'tasks'"),
        ({"stages": [{"name": "alignment", "tasks": {}}]}, "task -> visits an epoch above 0"),
        ({"sid": {"level_sizes": [16, 2.5]}}, r"level_sizes\[1\]: expected a int"),
        ({"precision": "float16"}, "expected auto, bfloat16 or float32"),
        ([], "expected a JSON object"),
        ({"stages": [{"name": "alignment", "tasks": {"query_to_keywords": 1.0}}]}, "set thoughts"),
        (
            {
                "stages": [
                    {
                        "name": "personalisation",
                        "tasks": {"search": 1.0},
                        "objective": {"distillation": {}},
                    }
                ]
            },
            "thoughts: expected keywords to learn",
        ),
        (
            {
                "thoughts": {"inject_target": True},
                "stages": [{"name": "alignment", "tasks": {"user_query_to_keywords": 1.0}}],
            },
            "inject_target: expected false",
        ),
        (
            {"thoughts": {"language": "klingon"}},
            r"language: expected one of \('chinese', 'english'",
        ),
        (
            {
                "stages": [
                    {
                        "name": "preference",
                        "tasks": {"search": 1.0},
                        "policy": {},
                        "objective": {"focal": {}},
                    }
                ]
            },
            "objective: expected nothing in a stage 'preference'",
        ),
        ({"seed": -1}, "seed: expected an integer in"),
        ({"checkpoint_seconds": -1}, "checkpoint_seconds"),
        ({"model": {"num_layers": 0}}, "num_layers: expected at least 1"),
        ({"model": {"head_dim": 15}}, "head_dim: expected an even number"),
        ({"model": {"num_heads": 3, "num_kv_heads": 2}}, "num_kv_heads: expected a divisor"),
        ({"model": {"text_vocab_size": 100}}, "text_vocab_size: expected at least 259"),
        *(
            ({"stages": [{"name": "alignment", "tasks": {"title_to_sid": 1.0}, **bad}]}, name)
            for name, bad in {
                "max_minutes": {"max_minutes": math.nan},
                "learning_rate": {"learning_rate": -1.0},
                "warmup": {"warmup": 1.0},
                "weight_decay": {"weight_decay": math.nan},
                "validations": {"keep_best": True, "validations": 0},
                "patience: expected at least 1, with keep_best": {"patience": 1},
                "patience": {"keep_best": True, "patience": 0},
                "tasks": {"tasks": {"title_to_sid": math.inf}},
            }.items()
        ),
    ],
)
def test_unsound_configs_are_refused(value, complaint):
    with pytest.raises(ValueError, match=complaint):
        PipelineConfig.from_json(value)


def test_minutes_are_shared_out_as_the_limits_are():
    config = PipelineConfig(
        stages=(
            StageConfig("alignment", {"title_to_sid": 1.0}, max_minutes=1.0),
            StageConfig("personalisation", {"search": 1.0}, max_minutes=3.0),
        )
    )
    assert [stage.max_minutes for stage in config.with_minutes(2.0).stages] == [0.5, 1.5]
    with pytest.raises(ValueError, match="minutes: expected more than 0"):
        config.with_minutes(0)
    with pytest.raises(ValueError, match="minutes: expected more than 0"):
        config.with_minutes(math.nan)


def test_a_suggested_config_asks_only_for_what_the_log_has(inputs):
    with_queries = suggest_config(inputs.log)
    assert with_queries.prompts.query_sids
    paths = (UserHistory("u", None, (Event(1, 1, "click", "women > shoes"),)),)
    assert not suggest_config(TrainLog(ITEMS, paths)).prompts.query_sids
    silent = TrainLog((Item("a", "x"),), (UserHistory("u", None, (Event(1, 0, "click", None),)),))
    tasks = {task for stage in suggest_config(silent).stages for task in stage.tasks}
    assert tasks == {"title_to_sid", "next_item"}


def test_a_config_may_be_yaml(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("seed: 3\nstages:\n  - {name: alignment, tasks: {title_to_sid: 1}}\n")
    config = read_config(path)
    assert config.seed == 3 and config.stages[0].tasks == {"title_to_sid": 1.0}
    path.write_text("sead: 3\n")
    with pytest.raises(ValueError, match="did you mean seed"):
        read_config(path)
    path.write_text("seed: [")
    with pytest.raises(ValueError, match="expected YAML"):
        read_config(path)
