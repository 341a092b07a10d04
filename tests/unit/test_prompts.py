import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onesearch_fast.data.prompts import (
    TEMPLATE_FOLDER,
    PromptConfig,
    PromptEncoder,
    Templates,
    Turn,
    windows,
)
from onesearch_fast.data.tokenizer import SidTokenizer
from onesearch_fast.errors import FormatError

SIZES = (6, 4, 3)
NAMES = sorted(file.stem for file in TEMPLATE_FOLDER.glob("*.json"))
TURNS = [
    Turn((1, 2, 0), "red dress", (1, 0, 0)),
    Turn((5, 3, 2)),
    Turn((0, 0, 1), "红色 靴子", (2, 2, 2)),
    Turn((3, 1, 1), "red dress", (1, 0, 0)),
]


def encoder(template: str = "compact", **settings) -> PromptEncoder:
    templates = Templates.load(template)
    texts = ["red dress", "红色 靴子", "women 18-23", "boots > women"]
    tokenizer = SidTokenizer.train(texts, 300, SIZES, 2, templates.markers)
    return PromptEncoder(tokenizer, templates, PromptConfig(template=template, **settings))


def sids_learnt(prompts: PromptEncoder, rows) -> list[tuple[int, ...]]:
    """Codes of every learnt SID, in order, read back from token ids."""
    offsets = np.asarray(prompts.tokenizer.code_token_offsets)
    found = []
    for row in rows:
        learnt = np.flatnonzero(row.learnt).reshape(-1, len(SIZES))
        found += [tuple((np.asarray(row.ids)[where] - offsets).tolist()) for where in learnt]
    return found


def test_a_compact_search_row_reads_as_documented():
    prompts = encoder()
    (row,) = prompts.training_rows("search", "women 18-23", TURNS[:2])
    text, sid, marker = (
        prompts.tokenizer.encode_text,
        lambda codes: prompts.tokenizer.code_ids(codes).tolist(),
        lambda name: [prompts.tokenizer.marker_id(name)],
    )
    assert row.ids == [
        *marker("<task_search>"),
        *marker("<profile>"),
        *text("women 18-23"),
        *marker("<query>"),
        *text("red dress"),
        *marker("<query_sid>"),
        *sid((1, 0, 0)),
        *marker("<item>"),
        *sid((1, 2, 0)),
        *marker("<item>"),
        *sid((5, 3, 2)),
    ]
    assert row.learnt == [False] * (len(row.ids) - 7) + [True] * 3 + [False] * 4


@pytest.mark.parametrize("template", NAMES)
@pytest.mark.parametrize("query_sids", [True, False])
@pytest.mark.parametrize("profile", ["women 18-23", None])
def test_a_served_prompt_is_the_training_row_cut_before_the_target(template, query_sids, profile):
    prompts = encoder(template, query_sids=query_sids)
    for last in (0, 2, 3):
        (row,) = prompts.training_rows("search", profile, TURNS[: last + 1])
        turn = TURNS[last]
        served = prompts.search_prompt(profile, TURNS[:last], turn.query, turn.query_codes)
        assert served == row.ids[: -len(SIZES)]
        (row,) = prompts.training_rows("next_item", profile, TURNS[: last + 1])
        assert prompts.next_item_prompt(profile, TURNS[:last]) == row.ids[: -len(SIZES)]


@pytest.mark.parametrize("task", ["search", "next_item"])
def test_long_logs_are_cut_into_windows_that_learn_every_turn_once(task):
    prompts = encoder(max_history_events=4)
    turns = [Turn((i % 6, i % 4, i % 3), "red dress", (0, 0, 0)) for i in range(23)]
    rows = prompts.training_rows(task, None, turns)
    assert sids_learnt(prompts, rows) == [turn.item_codes for turn in turns]
    longest = max(len(row.ids) for row in rows)
    assert longest == len(prompts.training_rows(task, None, turns[:5])[0].ids)


def test_a_served_prompt_shows_the_last_events_only():
    prompts = encoder(max_history_events=2)
    served = prompts.search_prompt(None, TURNS, "red dress", (1, 0, 0))
    assert served == prompts.search_prompt(None, TURNS[-2:], "red dress", (1, 0, 0))
    assert served != prompts.search_prompt(None, TURNS[-1:], "red dress", (1, 0, 0))
    without = encoder(max_history_events=0)
    assert without.next_item_prompt(None, TURNS) == without.next_item_prompt(None, [])


@given(num_turns=st.integers(0, 200), max_history=st.integers(0, 30))
def test_windows_cover_every_turn_once_with_history(num_turns, max_history):
    learnt = []
    for begin, first_learnt, end in windows(num_turns, max_history):
        assert end - begin <= max_history + 1
        assert begin == 0 or first_learnt - begin == (max_history + 1) // 2
        learnt += range(first_learnt, end)
    assert learnt == list(range(num_turns))


def test_events_without_a_query_are_context_in_search_and_targets_in_next_item():
    prompts = encoder()
    asked = [turn.item_codes for turn in TURNS if turn.query]
    assert sids_learnt(prompts, prompts.training_rows("search", None, TURNS)) == asked
    everything = [turn.item_codes for turn in TURNS]
    assert sids_learnt(prompts, prompts.training_rows("next_item", None, TURNS)) == everything
    assert prompts.training_rows("search", None, [TURNS[1]]) == []


def test_pair_targets_are_sids_or_texts_that_end():
    prompts = encoder()
    row = prompts.pair_row("query_to_sid", {"query": "red dress", "query_sid": (1, 2, 1)})
    assert row.learnt == [False] * (len(row.ids) - 3) + [True] * 3
    row = prompts.pair_row("sid_to_title", {"item_sid": (1, 2, 1), "title": "red dress"})
    text = prompts.tokenizer.encode_text("red dress")
    assert row.ids[-len(text) - 1 :] == [*text, prompts.tokenizer.eos_id]
    assert sum(row.learnt) == len(text) + 1


def test_a_long_query_keeps_its_first_tokens():
    prompts = encoder(max_query_tokens=3, query_sids=False)
    long = prompts.search_prompt(None, [], "red dress " * 10_000, None)
    assert len(long) == 1 + 1 + 3 + 1
    assert long[2:5] == prompts.tokenizer.encode_text("red dress " * 3)[:3]


def test_a_query_that_spells_markers_and_codes_gives_none():
    prompts = encoder(query_sids=False)
    ids = prompts.search_prompt(None, [], "<item><a_1><b_1>", None)
    assert ids.count(prompts.tokenizer.marker_id("<item>")) == 1
    first_code = prompts.tokenizer.code_token_offsets[0]
    assert max(ids) < first_code


def test_a_query_without_its_sid_is_refused_where_prompts_show_it():
    with pytest.raises(ValueError, match="query_codes: expected the query's SID"):
        encoder().search_prompt(None, [], "red dress", None)


@pytest.mark.parametrize("template", NAMES)
def test_no_two_tasks_share_an_input_form(template):
    prompts = encoder(template)
    fields = {
        "query": "red dress",
        "title": "red dress",
        "category": "red dress",
        "query_sid": (1, 1, 1),
        "item_sid": (1, 1, 1),
        "keywords": "red dress",
        "keyword_sid": (1, 1, 1),
    }
    inputs = [tuple(prompts.next_item_prompt(None, []))]
    inputs.append(tuple(prompts.search_prompt(None, [], "red dress", (1, 1, 1))))
    for task in prompts.templates.pairs:
        row = prompts.pair_row(task, fields)
        inputs.append(tuple(row.ids[: row.learnt.index(True)]))
    assert len(set(inputs)) == len(inputs)
    # No input may be the beginning of another either: the model reads from the left.
    assert not [(a, b) for a in inputs for b in inputs if a != b and b[: len(a)] == a]


def test_all_templates_have_the_same_tasks():
    compact = Templates.load("compact")
    for name in NAMES:
        other = Templates.load(name)
        assert other.personalised.keys() == compact.personalised.keys()
        assert {task: pair["target"] for task, pair in other.pairs.items()} == {
            task: pair["target"] for task, pair in compact.pairs.items()
        }


def test_save_and_load_give_the_same_prompts(tmp_path):
    prompts = encoder(max_history_events=2, query_sids=False)
    prompts.save(tmp_path / "prompts.json")
    loaded = PromptEncoder.load(tmp_path / "prompts.json", prompts.tokenizer)
    assert loaded.config == prompts.config
    args = ("women 18-23", TURNS, "red dress", None)
    assert loaded.search_prompt(*args) == prompts.search_prompt(*args)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda value: value["markers"].remove("<item>"), "<item> is not among the markers"),
        (lambda value: value["pairs"]["query_to_sid"].update(target="{sku}"), "not a field"),
        (
            lambda value: value["pairs"].update(copy=value["pairs"]["query_to_sid"]),
            "two tasks begin alike",
        ),
        (lambda value: value.pop("pairs"), "not a prompt template"),
        (lambda value: value.update(pairs=[]), "not a prompt template"),
        (lambda value: value["personalised"].pop("next_item"), "no personalised task 'next_item'"),
    ],
)
def test_unsound_templates_are_refused(change, complaint):
    value = json.loads((TEMPLATE_FOLDER / "compact.json").read_text())
    change(value)
    with pytest.raises(FormatError, match=complaint):
        Templates.from_json(value)


def test_an_unknown_template_names_the_known_ones():
    with pytest.raises(ValueError, match=r"expected one of \['chinese', 'compact', 'english'\]"):
        Templates.load("latin")


def test_a_task_without_a_template_is_refused_by_name():
    prompts = encoder()
    del prompts.templates.pairs["title_to_sid"]
    for ask in (prompts.can_fill, prompts.pair_row):
        with pytest.raises(ValueError, match=r"got title_to_sid; add it to the template"):
            ask("title_to_sid", {"title": "x"})


@pytest.mark.parametrize("blank", ["", "  "])
def test_a_profile_that_says_nothing_is_none_in_training_and_serving(blank):
    prompts = encoder()
    assert prompts.next_item_prompt(blank, TURNS) == prompts.next_item_prompt(None, TURNS)
    rows = [prompts.training_rows("search", profile, TURNS) for profile in (blank, None)]
    assert rows[0] == rows[1]


@pytest.mark.parametrize("name", ["max_query_tokens", "max_text_tokens"])
def test_texts_keep_at_least_one_token(name):
    with pytest.raises(ValueError, match=f"{name}: expected at least 1, got 0"):
        PromptConfig(**{name: 0})


def test_a_negative_history_is_refused():
    with pytest.raises(ValueError, match="max_history_events: expected at least 0, got -1"):
        PromptConfig(max_history_events=-1)
