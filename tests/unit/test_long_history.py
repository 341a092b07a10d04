"""Long histories in prompts: what tokens stand for, no later event, served as they are trained."""

from __future__ import annotations

import copy
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from onesearch_fast.data.long_history import LongHistories, LongHistoryConfig
from onesearch_fast.data.prompts import PromptConfig, PromptEncoder, Templates
from onesearch_fast.data.records import Item
from onesearch_fast.data.split import EvalCase, Event, TrainLog, UserHistory
from onesearch_fast.engine.engine import Engine
from onesearch_fast.engine.engine_prompts import engine_prompts
from onesearch_fast.engine.requests import PastEvent, SearchRequest, UserContext
from onesearch_fast.engine.search_prompts import PromptWriter
from onesearch_fast.engine.searcher import Searcher
from onesearch_fast.engine.served_model import LONG_HISTORY, MANIFEST, ServedModel
from onesearch_fast.errors import FormatError, ServedModelError
from onesearch_fast.files import read_json, write_json
from onesearch_fast.models.checkpoint import SINGLE_FILE
from onesearch_fast.nn import HISTORIES, LongHistoryQFormer
from onesearch_fast.train.backbones import Backbone, backbone_of
from onesearch_fast.train.config import ModelConfig, PipelineConfig, read_config
from onesearch_fast.train.model import open_trained, save_trained, with_long_history
from onesearch_fast.train.rows import Batch, TokenRows
from onesearch_fast.train.stages import StageInputs, find_stage
from onesearch_fast.train.stages.personalisation import validation_rows

CODES = np.array([[row, 9 - row] for row in range(10)], dtype=np.int32)
KINDS = [("click", "mug"), ("order", None), ("click", None), ("order", "lamp")]


def past(rows: list[int]) -> tuple[Event, ...]:
    """Events of those items; every kind in turn."""
    return tuple(Event(at, row, *KINDS[at % 4]) for at, row in enumerate(rows))


def histories_of(
    pasts: dict[str, tuple[Event, ...]], first_token: int = 100, **settings: int
) -> LongHistories:
    config = LongHistoryConfig(**settings)
    return LongHistories.make(config, first_token, pasts.items(), CODES.__getitem__)


def test_tokens_name_a_user_and_a_number_of_events() -> None:
    pasts = {"none": (), "u": past([3, 1, 4, 1, 5]), "v": past([9, 2])}
    histories = histories_of(pasts, max_items=2)
    assert histories.tokens("none", 0) is histories.tokens("u", 0) is None
    assert histories.tokens("u", 1) == [100, 101, 102]
    assert histories.tokens("v", 2) == [118, 119, 120]
    codes = histories.codes_of([112, 118, 102])  # any token of a history
    assert codes.shape == (3, len(HISTORIES), 2, 2)
    rows = np.where(codes[..., 0] < 0, -1, codes[..., 0]).tolist()
    # Clicks: everything. Orders: the second and the fourth. Searches: the first, fourth, fifth.
    assert rows[0] == [[1, 5], [1, 1], [1, 5]]
    assert rows[1] == [[9, 2], [2, -1], [9, -1]]
    assert rows[2] == [[3, -1], [-1, -1], [3, -1]]


@given(rows=st.lists(st.integers(0, 9), min_size=2, max_size=12), data=st.data())
def test_what_tokens_stand_for_knows_no_later_event(rows: list[int], data: st.DataObject) -> None:
    seen = data.draw(st.integers(1, len(rows) - 1))
    others = data.draw(st.lists(st.integers(0, 9), max_size=12))
    one = histories_of({"before": past(others), "u": past(rows)})
    other = histories_of({"u": past(rows[:seen] + others)})
    codes = [made.codes_of(made.tokens("u", seen)[:1]) for made in (one, other)]
    assert np.array_equal(*codes)


@pytest.mark.parametrize("name", ["num_vectors", "num_heads", "max_items"])
def test_sizes_are_checked(name: str) -> None:
    with pytest.raises(ValueError, match=f"LongHistoryConfig: {name}"):
        LongHistoryConfig(**{name: 0})


def test_settings_are_checked_before_anything_is_trained(tmp_path: Path) -> None:
    prompts = PromptConfig(long_history=LongHistoryConfig(num_heads=3))
    with pytest.raises(ValueError, match="num_heads"):
        PipelineConfig(prompts=prompts)
    config = PipelineConfig(prompts=prompts, model=ModelConfig(hidden_size=48))
    assert PipelineConfig.from_json(config.to_json()) == config
    path = tmp_path / "run.yaml"
    path.write_text("prompts: {long_history: {num_vectors: 5}}\n")
    assert read_config(path).prompts.long_history == LongHistoryConfig(5)


PAST = past([3, 40, 9, 7, 21, 60, 3])
CONFIG = PromptConfig(max_history_events=3, long_history=LongHistoryConfig(max_items=4))


@pytest.fixture(scope="module")
def parts(served_parts: dict[str, Any]) -> dict[str, Any]:
    """A served model whose prompts hold long histories."""
    prompts = served_parts["prompts"]
    codebooks = served_parts["codebooks"]
    torch.manual_seed(2)
    levels = codebooks.levels[: codebooks.num_residual_levels]
    tables = [torch.from_numpy(level.centroids) for level in levels]
    former = LongHistoryQFormer(tables, served_parts["model"].config.hidden_size)
    encoder = PromptEncoder(prompts.tokenizer, prompts.templates, CONFIG)
    return served_parts | {"prompts": encoder, "long_history": former}


@pytest.fixture(scope="module")
def served(parts: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> ServedModel:
    folder = tmp_path_factory.mktemp("long") / "model"
    ServedModel.write(folder, **parts)
    return ServedModel.load(folder)


@pytest.fixture(scope="module")
def inputs(served: ServedModel, catalogue: tuple[Item, ...]) -> StageInputs:
    """What training looks at, over the same codes."""
    vectors = served.text_encoder.encode([item.title for item in catalogue])
    codes = served.codebooks.encode(vectors)
    texts = ["mug", "lamp", "kettle"]
    query_codes = served.codebooks.encode(served.text_encoder.encode(texts))
    log = TrainLog(catalogue, (UserHistory("w", None, PAST[:2]), UserHistory("u", "old", PAST)))
    config = CONFIG.long_history
    assert config is not None
    first_token = served.prompts.tokenizer.vocab_size
    pasts = ((one.user_id, one.events) for one in log.histories)
    return StageInputs(
        log,
        codes,
        dict(zip(texts, query_codes, strict=True)),
        served.prompts,
        histories=LongHistories.make(config, first_token, pasts, codes.__getitem__),
    )


def request_of(events: tuple[Event, ...], query: str | None) -> SearchRequest:
    history = [PastEvent(f"item-{one.row}", one.query, one.event) for one in events]
    return SearchRequest(query, UserContext("old", history))


def trained_prompt(events: tuple[Event, ...], query: str | None, inputs: StageInputs) -> list[int]:
    case = EvalCase("u", "old", events, query, None, 0, "stop", 0, 0)
    (row,) = validation_rows([case], inputs)
    return row.ids[: row.learnt.index(True)]


def test_rows_stand_behind_what_came_before_them(inputs: StageInputs) -> None:
    """Windows of 4 turns that overlap by half: 0 to 4, 2 to 6, 4 to 7."""
    first_token = inputs.prompts.tokenizer.vocab_size
    rows = list(find_stage("personalisation", ["search"]).tasks["next_item"](inputs))
    named = [[token for token in row.ids if token >= first_token] for row in rows]
    assert inputs.histories is not None
    tokens = [inputs.histories.tokens("u", seen) or [] for seen in (0, 2, 4)]
    assert named == [[], *tokens]  # the first row is of the user with two events
    learnt = [token for row in rows for token, own in zip(row.ids, row.learnt, strict=True) if own]
    assert max(learnt) < first_token


def test_events_in_any_order_stand_behind_nothing(inputs: StageInputs) -> None:
    """A history of the user's own order could hold what the row is to learn."""
    rows = find_stage("any_order", ["search"]).tasks["next_item"](inputs)
    assert max(max(row.ids) for row in rows) < inputs.prompts.tokenizer.vocab_size


def test_without_the_setting_prompts_are_as_they_were(inputs: StageInputs) -> None:
    prompts = inputs.prompts
    config = replace(prompts.config, long_history=None)
    plain = replace(inputs, prompts=PromptEncoder(prompts.tokenizer, prompts.templates, config))
    bare = replace(plain, histories=None)
    tasks = find_stage("personalisation", ["search"]).tasks
    assert list(tasks["search"](plain)) == list(tasks["search"](bare))
    assert list(tasks["search"](plain)) != list(tasks["search"](inputs))


@pytest.fixture(scope="module")
def trained(parts: dict[str, Any], inputs: StageInputs) -> Backbone:
    """The model as the trainer holds it."""
    model = copy.deepcopy(parts["model"])
    model.long_history = copy.deepcopy(parts["long_history"])
    return backbone_of(model, inputs.prompts.tokenizer.pad_id, "float32", inputs.histories)


QUESTIONS = [(PAST, "kettle"), (PAST[:5], None), (PAST[:3], "mug"), ((), "lamp")]


def test_searches_read_what_training_reads(
    served: ServedModel, inputs: StageInputs, trained: Backbone
) -> None:
    engine = Engine.from_pretrained(served.folder, served.trie, dtype="float32")
    writer = PromptWriter(served, engine.max_prompt_tokens)
    cases = [writer.case(request_of(*question)) for question in QUESTIONS]
    histories = writer.histories(cases)
    prompts = writer.prompts(cases, histories)
    assert histories is not None and max(prompts[1]) >= histories.first_token > max(prompts[2])
    asked = engine_prompts(engine, prompts, served.long_history, histories)
    assert asked.prompt_embeds is not None and asked.attention_mask is not None
    codes = torch.from_numpy(inputs.item_codes[[5, 6, 7, 8]])
    scores = engine.score(None, codes, "vocab", asked.attention_mask, asked.prompt_embeds)
    for row, question in enumerate(QUESTIONS):
        prompt = trained_prompt(*question, inputs)
        tokens = torch.tensor([prompt])
        embeddings = trained.embed(Batch(tokens, tokens, tokens))
        assert int(asked.attention_mask[row].sum()) == len(prompt)
        mine = asked.prompt_embeds[row, : len(prompt)]
        torch.testing.assert_close(mine, embeddings[0].detach(), atol=1e-6, rtol=1e-6)
        log_prob = log_prob_after(trained.model, embeddings, codes[row], inputs)
        torch.testing.assert_close(scores[row], log_prob, atol=1e-4, rtol=1e-5)


@torch.no_grad()
def log_prob_after(
    model: Any, embeddings: torch.Tensor, codes: torch.Tensor, inputs: StageInputs
) -> torch.Tensor:
    """Of an SID behind one prompt, by `transformers`."""
    target = torch.from_numpy(inputs.prompts.tokenizer.code_ids(codes.numpy()))[None]
    told = torch.cat([embeddings, model.get_input_embeddings()(target)], 1)
    logits = model(inputs_embeds=told).logits[:, -target.shape[1] - 1 : -1]
    return logits.log_softmax(-1).gather(2, target[:, :, None]).sum()


def test_a_search_depends_on_what_it_does_not_show(served: ServedModel) -> None:
    engine = Engine.from_pretrained(served.folder, served.trie, dtype="float32")
    searcher = Searcher(served, engine)
    other = past([11, 12, 13, 14])
    same = [request_of(PAST, "kettle"), request_of(PAST, "kettle")]
    changed = [request_of(PAST, "kettle"), request_of(other + PAST[4:], "kettle")]
    for requests, equal in ((same, True), (changed, False)):
        one, two = searcher.search(requests, remove_history=False)
        assert ([hit.score for hit in one] == [hit.score for hit in two]) == equal
    (alone,) = searcher.search(changed[1:], remove_history=False)
    assert [hit.item_id for hit in alone] == [hit.item_id for hit in two]
    unknown = UserContext("old", [PastEvent("sold-in-1999", event="order"), *user_of(PAST).history])
    (same_hits,) = searcher.search([SearchRequest("kettle", unknown)], remove_history=False)
    assert [hit.item_id for hit in same_hits] == [hit.item_id for hit in one]
    why = searcher.why_not(changed[0], one[0].item_id, remove_history=False)
    assert why.reason == "found"
    assert searcher.valid_sid_rates(changed, 4).shape == (2,)


def user_of(events: tuple[Event, ...]) -> UserContext:
    user = request_of(events, None).user
    assert user is not None
    return user


def test_a_prompt_that_is_cut_stands_for_more(served: ServedModel) -> None:
    """What is cut off goes into the vectors."""
    case_of = PromptWriter(served, 4096).case
    cases = [case_of(request_of(PAST, "kettle"))]
    most = 4096
    for num_events in (4, 6):
        writer = PromptWriter(served, most)
        histories = writer.histories(cases)
        (prompt,) = writer.prompts(cases, histories)
        assert histories is not None and len(prompt) <= most
        named = [token for token in prompt if token >= histories.first_token]
        assert named == histories.tokens(0, num_events)
        most = len(prompt) - 1


def test_events_are_clicks_or_orders() -> None:
    user = {"history": [{"item_id": "item-1", "event": "order"}, "item-2"]}
    kinds = [event.event for event in UserContext.from_json(user).history]
    assert kinds == ["order", "click"]
    for bad in ("show", 7):
        user = {"history": [{"item_id": "item-1", "event": bad}]}
        with pytest.raises(ValueError, match=r"user\.history\.event: expected 'click' or 'order'"):
            SearchRequest("mug", UserContext.from_json(user)).check()


def test_vectors_learn_with_the_model(trained: Backbone, inputs: StageInputs) -> None:
    rows = TokenRows.pack(find_stage("personalisation", ["search"]).tasks["search"](inputs))
    batch = trained.make_batch(rows, np.arange(len(rows)))
    trained.logits(trained.embed(batch), batch).square().mean().backward()
    for name, parameter in trained.model.long_history.named_parameters():
        assert parameter.grad is not None and bool(parameter.grad.any()), name
    trained.model.zero_grad()


def test_rollouts_are_of_the_prompts_that_are_learnt(
    trained: Backbone, inputs: StageInputs, served: ServedModel
) -> None:
    offsets = inputs.prompts.tokenizer.code_token_offsets
    engine = Engine.from_pretrained(
        trained.model, served.trie, dtype="float32", code_token_offsets=offsets
    )
    prompts = [trained_prompt(*question, inputs) for question in QUESTIONS]
    asked = trained.engine_prompts(engine, prompts)
    samples = engine.sample(
        None, 3, attention_mask=asked.attention_mask, prompt_embeds=asked.prompt_embeds
    )
    scores = engine.score(None, samples.codes, "vocab", asked.attention_mask, asked.prompt_embeds)
    targets = inputs.prompts.tokenizer.code_ids(samples.codes.numpy())
    with torch.no_grad():
        log_probs = trained.branch_log_probs(prompts, targets).sum(-1)
    torch.testing.assert_close(scores, log_probs, atol=1e-4, rtol=1e-5)


def test_trained_models_are_saved_whole(trained: Backbone, tmp_path: Path) -> None:
    save_trained(trained.model, tmp_path)
    again = open_trained(tmp_path)
    state = trained.model.state_dict()
    assert again.state_dict().keys() == state.keys()
    for name, tensor in again.state_dict().items():
        assert torch.equal(tensor, state[name]), name
    assert not any(name.startswith("long_history") for name in load_file(tmp_path / SINGLE_FILE))


def test_new_vectors_come_from_the_codebooks(parts: dict[str, Any]) -> None:
    config = LongHistoryConfig(num_vectors=2, num_heads=6)
    model = copy.deepcopy(parts["model"])
    former = with_long_history(model, config, parts["codebooks"], seed=3).long_history
    assert (former.num_vectors, former.hidden_size) == (2, 48)
    assert former.level_sizes == parts["codebooks"].level_sizes[:2]
    first = parts["codebooks"].levels[0].centroids
    assert np.array_equal(former.centroids[: len(first)], first)


def test_folders_that_lack_their_vectors_are_refused(
    parts: dict[str, Any], served_parts: dict[str, Any], served: ServedModel, tmp_path: Path
) -> None:
    former = parts["long_history"]
    narrow = LongHistoryQFormer(torch.split(former.centroids, former.level_sizes), 24)
    more = LongHistoryQFormer(torch.split(former.centroids, former.level_sizes), 48, 4)
    for wrong in (None, narrow, more):
        with pytest.raises(ValueError, match=r"ServedModel\.write: long_history: expected"):
            ServedModel.write(tmp_path / "served", **(parts | {"long_history": wrong}))
    with pytest.raises(ValueError, match="where, and only where, prompts hold them"):
        ServedModel.write(tmp_path / "served", **(served_parts | {"long_history": former}))
    folder = tmp_path / "copy"
    shutil.copytree(served.folder, folder)
    narrow.save(folder / LONG_HISTORY)
    with pytest.raises(ServedModelError, match=LONG_HISTORY):
        ServedModel.load(folder)
    (folder / LONG_HISTORY).unlink()
    with pytest.raises(ServedModelError, match=LONG_HISTORY):
        ServedModel.load(folder)


def test_vectors_of_another_model_are_named(served: ServedModel, tmp_path: Path) -> None:
    """Even by who trusts the manifest's checksums."""
    folder = tmp_path / "copy"
    shutil.copytree(served.folder, folder)
    former = served.long_history
    assert former is not None
    other = LongHistoryQFormer(torch.split(former.centroids, former.level_sizes), 24)
    other.save(folder / LONG_HISTORY)
    manifest = read_json(folder / MANIFEST)
    manifest["files"][LONG_HISTORY]["bytes"] = (folder / LONG_HISTORY).stat().st_size
    write_json(folder / MANIFEST, manifest)
    with pytest.raises(ServedModelError, match=r"width 48.* got .*width 24"):
        ServedModel.load(folder, verify=False)
    del manifest["files"][LONG_HISTORY]
    write_json(folder / MANIFEST, manifest)
    with pytest.raises(ServedModelError, match=f"an entry for {LONG_HISTORY}"):
        ServedModel.load(folder, verify=False)


def test_templates_need_a_place(served: ServedModel, tmp_path: Path) -> None:
    value = copy.deepcopy(served.prompts.templates.to_json())
    value["personalised"]["search"]["head"] = ["<task_search>"]
    templates = Templates.from_json(value)
    with pytest.raises(ValueError, match=r"long_history.* in the head of 'search'"):
        PromptEncoder(served.prompts.tokenizer, templates, CONFIG)
    served.prompts.save(tmp_path / "prompts.json")
    again = PromptEncoder.load(tmp_path / "prompts.json", served.prompts.tokenizer)
    assert again.config == CONFIG
    value = read_json(tmp_path / "prompts.json")
    value["config"]["long_history"] = {"vectors": 3}
    write_json(tmp_path / "prompts.json", value)
    with pytest.raises(FormatError, match="not a prompt file"):
        PromptEncoder.load(tmp_path / "prompts.json", served.prompts.tokenizer)
