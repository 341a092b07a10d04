"""Learning from rewards: rollouts of the served engine, groups that tell nothing, preferences."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from onesearch_fast.data.prompts import PromptEncoder, Templates
from onesearch_fast.data.records import Item
from onesearch_fast.data.split import Event, Impression, TrainLog, UserHistory
from onesearch_fast.data.tokenizer import SidTokenizer
from onesearch_fast.data.user_ids import QueryItems, UserIds
from onesearch_fast.engine.engine import Engine
from onesearch_fast.engine.engine_prompts import EnginePrompts
from onesearch_fast.index.sid_trie import SidTrie
from onesearch_fast.train.backbones import backbone_of
from onesearch_fast.train.cases import preference_cases
from onesearch_fast.train.config import (
    DpoConfig,
    ModelConfig,
    PolicyConfig,
    StageConfig,
    TowersConfig,
)
from onesearch_fast.train.model import new_model
from onesearch_fast.train.preference import (
    DirectPreference,
    PolicyGradient,
    policy_log_probs,
)
from onesearch_fast.train.rewards.composite import CompositeReward
from onesearch_fast.train.rewards.guidance import Guidance
from onesearch_fast.train.rewards.relevance import CategoryRelevance
from onesearch_fast.train.rewards.towers import RewardModel
from onesearch_fast.train.rows import TokenRows
from onesearch_fast.train.stages import StageInputs, find_stage
from onesearch_fast.train.steps import TaskRows
from onesearch_fast.train.trainer import RunOptions, train_stage

SIZES = (3, 3)
CODES = np.array([[a, b] for a in range(3) for b in range(3)], np.int32)[:8]
ITEMS = tuple(Item(str(n), f"thing {n}", category=(f"kind {n // 3}",)) for n in range(8))
HISTORIES = tuple(
    UserHistory(
        f"u{n}",
        None,
        (
            Event(0, n % 3, "click", "first kind"),
            Event(9000, 3 + n % 3, "order", "second kind"),
        ),
    )
    for n in range(6)
)
TRIE = SidTrie.build(CODES, SIZES)
SHOWN = tuple(Impression(f"u{n}", 8000, 7, "second kind") for n in range(6))


@pytest.fixture(scope="module")
def inputs() -> StageInputs:
    templates = Templates.load("compact")
    tokenizer = SidTokenizer.train(
        ["first kind", "second kind", "thing"], 280, SIZES, 2, templates.markers
    )
    queries = {"first kind": CODES[0], "second kind": CODES[4]}
    prompts = PromptEncoder(tokenizer, templates)
    return StageInputs(TrainLog(ITEMS, HISTORIES, SHOWN), CODES, queries, prompts)


def model_for(inputs: StageInputs, architecture: str = "qwen3"):
    config = ModelConfig(
        architecture=architecture,
        text_vocab_size=280,
        hidden_size=16,
        num_layers=1,
        num_heads=2,
        num_kv_heads=1,
        head_dim=8,
        intermediate_size=32,
        catalogue_start=False,
    )
    return new_model(config, inputs.prompts.tokenizer, [], np.zeros((8, 4)), CODES, seed=0)


def policy_of(inputs: StageInputs, config: PolicyConfig):
    reward = CompositeReward(inputs.log, CategoryRelevance(inputs.log))
    return lambda backbone: PolicyGradient(
        backbone, config, inputs.preference_cases, inputs, reward
    )


def engine_of(inputs: StageInputs, model) -> Engine:
    offsets = inputs.prompts.tokenizer.code_token_offsets
    return Engine.from_pretrained(model, TRIE, dtype="float32", code_token_offsets=offsets)


def train(inputs: StageInputs, model, make, folder, epochs: int = 40):
    rows = TaskRows(TokenRows.pack(find_stage("preference", ["search"]).tasks["search"](inputs)))
    config = StageConfig(
        "preference",
        {"search": 1.0},
        epochs=epochs,
        learning_rate=3e-2,
        dpo=DpoConfig(),  # what the stage learns by is given by `make`
    )
    options = RunOptions(inputs.prompts.tokenizer.pad_id, precision="float32")
    return train_stage(model, {"search": rows}, config, options, folder, make_objective=make)


def chance_of_wanted(inputs: StageInputs, model) -> float:
    """Mean probability of the items that were wanted, over the cases."""
    cases = inputs.preference_cases
    codes = torch.from_numpy(CODES[[case.session.wanted[0].row for case in cases]])
    scores = engine_of(inputs, model).score([case.prompt for case in cases], codes, "children")
    return float(scores.exp().mean())


def test_cases_are_the_prompts_that_would_be_served(inputs):
    cases = preference_cases(inputs)
    assert len(cases) == 12
    second = cases[1]
    past = inputs.turns(HISTORIES[0])[:1]
    expected = inputs.prompts.search_prompt(None, past, "second kind", CODES[4])
    assert second.prompt == expected
    row = second.row(inputs)
    assert row.ids[len(second.prompt) :] == inputs.prompts.tokenizer.code_ids(CODES[3]).tolist()


def with_user_ids(inputs: StageInputs, *clicks: tuple[tuple[int, int, str], ...]) -> StageInputs:
    """The inputs of a log of users' (time, row, query), whose prompts say who asks."""
    histories = tuple(
        UserHistory(f"u{n}", None, tuple(Event(time, row, "click", q) for time, row, q in own))
        for n, own in enumerate(clicks)
    )
    log = replace(inputs.log, histories=histories, shown=())
    config = replace(inputs.prompts.config, user_ids=True)
    prompts = PromptEncoder(inputs.prompts.tokenizer, Templates.load("compact"), config)
    user_ids = UserIds(SIZES, CODES.__getitem__, QueryItems.from_log(log))
    return replace(inputs, log=log, prompts=prompts, user_ids=user_ids)


def test_cases_show_who_asks_as_of_before_the_session(inputs):
    """Who asked the second thing of a session is not who came out of its first click."""
    events = ((0, 1, "first kind"), (9000, 5, "first kind"), (9010, 7, "second kind"))
    asked = with_user_ids(inputs, events)
    (history,) = asked.log.histories
    past = UserHistory("u0", None, history.events[:1])
    (of_past,) = asked.ids_before(past, "second kind")[-1:]
    turns = asked.turns(history)[:1]
    expected = asked.prompts.search_prompt(None, turns, "second kind", CODES[4], of_past)
    assert preference_cases(asked)[2].prompt == expected


def test_first_sessions_show_what_others_took_for_their_own_query(inputs):
    """Not what this user did, now or later, and not what was taken for the query before it."""
    first_session = ((0, 1, "first kind"), (10, 2, "first kind"), (20, 4, "second kind"))
    later = (9000, 2, "first kind")
    alone = with_user_ids(inputs, (*first_session, later))
    among_others = with_user_ids(
        inputs, (*first_session, later), ((0, 0, "first kind"), (9000, 7, "second kind"))
    )
    for asked, shown in ((alone, {}), (among_others, {"first kind": 0, "second kind": 7})):
        for case, query in zip(preference_cases(asked), asked.query_codes, strict=False):
            assert (case.session.begin, case.session.query) == (0, query)
            sid = CODES[shown[query]] if query in shown else None
            user_id = None if sid is None else (sid, sid)
            codes = asked.query_codes[query]
            expected = asked.prompts.search_prompt(None, [], query, codes, user_id)
            assert case.prompt == expected


def test_a_users_rows_do_not_begin_with_what_the_user_takes(inputs):
    """Two clicks for one query: neither stands in the id before both."""
    asked = with_user_ids(inputs, ((0, 1, "first kind"), (9000, 2, "first kind")))
    first, second = asked.turns(asked.log.histories[0])
    assert first.user_id is None and second.user_id is not None


def test_cases_are_made_once(inputs):
    assert inputs.preference_cases is inputs.preference_cases


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_the_policy_is_what_was_sampled(inputs, temperature):
    """Log-probabilities of the trainer and of the engine that drew the rollouts are the same."""
    model = model_for(inputs)
    model.set_attn_implementation("eager")
    tokenizer = inputs.prompts.tokenizer
    backbone = backbone_of(model, tokenizer.pad_id)
    prompts = [case.prompt for case in inputs.preference_cases]
    samples = engine_of(inputs, model).sample(prompts, 6, temperature)
    with torch.no_grad():
        policy = policy_log_probs(backbone, prompts, samples.codes, TRIE, tokenizer, temperature)
    torch.testing.assert_close(policy.sum(-1), samples.log_probs, atol=1e-4, rtol=0)


def test_an_sid_of_no_item_has_no_policy(inputs):
    tokenizer = inputs.prompts.tokenizer
    backbone = backbone_of(model_for(inputs), tokenizer.pad_id)
    grid = np.stack(np.meshgrid(*map(np.arange, TRIE.level_sizes)), -1).reshape(-1, TRIE.num_levels)
    unknown = torch.from_numpy(grid[~TRIE.contains(grid)][:1].astype(np.int32))[None]
    prompt = [inputs.preference_cases[0].prompt]
    with pytest.raises(ValueError, match="codes: expected SIDs of the trie, got 1 others"):
        policy_log_probs(backbone, prompt, unknown, TRIE, tokenizer)


@pytest.mark.parametrize("algorithm", ["grpo", "tpma"])
@pytest.mark.parametrize("architecture", ["qwen3", "bart"])
def test_rollouts_teach_what_is_rewarded(inputs, tmp_path, algorithm, architecture):
    model = model_for(inputs, architecture)
    before = chance_of_wanted(inputs, model)
    config = PolicyConfig(algorithm, rollouts=8, sft=0.0)
    points = train(inputs, model, policy_of(inputs, config), tmp_path).points
    assert points[-1]["reward"] > points[0]["reward"]
    assert chance_of_wanted(inputs, model) > 2 * before


def test_a_pull_to_the_reference_keeps_near_it(inputs, tmp_path):
    moved = []
    for weight in (0.0, 100.0):
        model = model_for(inputs)
        before = model.get_input_embeddings().weight.detach().clone()
        config = PolicyConfig(rollouts=8, sft=0.0, reference_kl=weight)
        train(inputs, model, policy_of(inputs, config), tmp_path / str(weight), epochs=10)
        scores = chance_of_wanted(inputs, model)
        moved.append(scores)
        assert torch.isfinite(model.get_input_embeddings().weight).all()
        assert not torch.equal(before, model.get_input_embeddings().weight)
    assert moved[1] < moved[0]


@pytest.mark.parametrize("rollouts", [1, 4])
def test_groups_that_tell_nothing_change_nothing(inputs, tmp_path, rollouts):
    """One rollout, or a reward that is the same for all: every advantage is 0."""

    class Even(CompositeReward):
        def __call__(self, query, rows, wanted):
            return np.full(len(rows), 2.0)

    model = model_for(inputs)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    config = PolicyConfig("grpo", rollouts=rollouts, sft=0.0)
    even = Even(inputs.log, CategoryRelevance(inputs.log))

    def make(backbone):
        return PolicyGradient(backbone, config, inputs.preference_cases, inputs, even)

    curves = train(inputs, model, make, tmp_path, epochs=1)
    assert all(point["loss"] == 0 for point in curves.points)
    # AdamW's weight decay alone is at work.
    for name, value in model.state_dict().items():
        assert torch.allclose(value, before[name], rtol=0.05, atol=1e-6), name


def test_dpo_prefers_what_was_wanted(inputs, tmp_path):
    model = model_for(inputs)
    before = chance_of_wanted(inputs, model)
    cases = inputs.preference_cases

    def make(backbone):
        return DirectPreference(backbone, DpoConfig(rejected=3), cases, inputs)

    curves = train(inputs, model, make, tmp_path)
    assert curves.points[-1]["loss"] < curves.points[0]["loss"]
    assert chance_of_wanted(inputs, model) > before


def test_a_reward_model_guides(inputs, tmp_path):
    """Its preferences over generated items take the place of the logged ones."""
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((8, 4)).astype(np.float32)
    queries = {query: vectors[n] for n, query in enumerate(inputs.query_codes)}
    config = TowersConfig(hidden_size=8, epochs=30, batch_size=4, learning_rate=1e-2)
    relevance = CategoryRelevance(inputs.log)
    cases = inputs.preference_cases
    reward = RewardModel(inputs.log, vectors, queries, relevance, config)
    prompts, sessions = [case.prompt for case in cases], [case.session for case in cases]
    reward.fit(sessions)
    model = model_for(inputs)
    guided = Guidance(engine_of(inputs, model), reward, 8)(EnginePrompts(prompts), sessions)

    def make(backbone):
        dpo = DpoConfig(rejected=3, candidates=8)
        return DirectPreference(backbone, dpo, cases, inputs, reward)

    curves = train(inputs, model, make, tmp_path, epochs=2)
    assert all(np.isfinite(point["loss"]) for point in curves.points)
    for before, after in zip(sessions, guided, strict=True):
        taken = {one.row for one in before.wanted}
        assert taken <= {one.row for one in after.wanted}
        assert not taken & {one.row for one in after.unwanted}
        levels = [one.level for one in after.wanted]
        assert levels == sorted(levels, reverse=True)
    assert any(after.unwanted for after in guided)


def test_a_case_without_rejected_items_is_sound(inputs, tmp_path):
    cases = [
        replace(case, session=replace(case.session, unwanted=()))
        for case in inputs.preference_cases
    ]
    curves = train(
        inputs,
        model_for(inputs),
        lambda backbone: DirectPreference(backbone, DpoConfig(), cases, inputs),
        tmp_path,
        epochs=1,
    )
    assert all(np.isfinite(point["loss"]) for point in curves.points)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("preference", {}),
        ("preference", {"policy": PolicyConfig(), "dpo": DpoConfig()}),
        ("alignment", {"policy": PolicyConfig()}),
    ],
)
def test_a_preference_stage_learns_by_one_thing(name, settings):
    with pytest.raises(ValueError, match="one of policy and dpo in a stage 'preference'"):
        StageConfig(name, {"search": 1.0}, **settings)
