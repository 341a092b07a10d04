"""User ids against numbers worked by hand, and equal in training and in serving."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onesearch_fast.data.prompts import PromptConfig, PromptEncoder
from onesearch_fast.data.records import Item
from onesearch_fast.data.split import EvalCase, Event, TrainLog, UserHistory
from onesearch_fast.data.user_ids import QueryItems, UserIds, behaviour_sid
from onesearch_fast.engine.requests import PastEvent, SearchRequest, UserContext
from onesearch_fast.engine.search_prompts import PromptWriter
from onesearch_fast.engine.served_model import ServedModel
from onesearch_fast.errors import FormatError, ServedModelError
from onesearch_fast.train.stages import StageInputs, find_stage
from onesearch_fast.train.stages.personalisation import validation_rows

CODES = np.array([[0, 10], [4, 0], [2, 3], [3, 3]], dtype=np.int32)
SIZES = (5, 11)


def test_recent_items_weigh_more() -> None:
    # exp(sqrt(i)), i = 1 .. 5: 2.718, 4.113, 5.652, 7.389, 9.356, of a sum of 29.229:
    # 0.0930, 0.1407, 0.1934, 0.2528, 0.3201.
    assert behaviour_sid([[100], [0], [0], [0], [0]], [256]).tolist() == [10]  # 9.30
    assert behaviour_sid([[0], [0], [0], [0], [100]], [256]).tolist() == [33]  # 32.01
    # 2.718 and 4.113 of 6.831: 0.3979 and 0.6021.
    assert behaviour_sid(CODES[:2], SIZES).tolist() == [3, 4]  # 2.408 and 3.979
    assert behaviour_sid(CODES[2:3], SIZES).tolist() == [2, 3]


def test_means_are_clipped_and_whole_ones_stay() -> None:
    for count in range(1, 40):
        assert behaviour_sid(np.full((count, 2), 7), [8, 6]).tolist() == [7, 5]
    assert behaviour_sid(np.zeros((9, 1)), [3]).tolist() == [0]
    for bad in (np.zeros((0, 2)), np.zeros((3, 1)), np.zeros(2)):
        with pytest.raises(ValueError, match="behaviour_sid: codes: expected"):
            behaviour_sid(bad, SIZES)


def test_new_users_are_what_their_query_led_to() -> None:
    events = tuple(Event(0, row, "click", "mug") for row in (2, 2, 2, 1, 1, 3, 0))
    log = TrainLog((), (UserHistory("u", None, events),))
    clicked = QueryItems.from_log(log)
    assert clicked.most_clicked("mug") == [3, 0, 1, 2]  # the most clicked last, so that it weighs
    assert clicked.most_clicked("mug", own_rows=[1]) == [3, 1, 0, 2]
    assert clicked.most_clicked("mug", own_rows=[3]) == [0, 1, 2]
    assert clicked.most_clicked("mug", own_rows=[3, 2, 2]) == [2, 0, 1]
    assert clicked.most_clicked("plough") == clicked.most_clicked(None) == []
    ids = UserIds(SIZES, CODES.__getitem__, clicked)
    (only,) = ids.before_each([], ["mug"])
    # Weights 0.1394, 0.2110, 0.2899, 0.3597... of rows 3, 0, 1, 2.
    expected = behaviour_sid(CODES[[3, 0, 1, 2]], SIZES)
    assert only is not None and np.array_equal(only[0], expected) and np.array_equal(*only)
    assert ids.before_each([], ["plough"]) == ids.before_each([], [None]) == [None]


@given(rows=st.lists(st.integers(0, 3), max_size=12))
def test_an_id_depends_on_earlier_events_alone(rows: list[int]) -> None:
    ids = UserIds(SIZES, CODES.__getitem__, QueryItems({}))
    queries = [None] * (len(rows) + 1)
    together = ids.before_each(rows, queries)
    assert together[0] is None
    for at in range(1, len(rows) + 1):
        alone = ids.before_each(rows[:at], queries[: at + 1])[-1]
        assert alone is not None and together[at] is not None
        for got, want in zip(together[at], alone, strict=True):  # type: ignore[arg-type]
            assert np.array_equal(got, want)
        assert np.array_equal(alone[0], behaviour_sid(CODES[rows[max(0, at - 5) : at]], SIZES))
        assert np.array_equal(alone[1], behaviour_sid(CODES[rows[:at]], SIZES))


PAST = (Event(1, 3, "click", "red lamp"), Event(2, 40, "order", None), Event(3, 9, "click", "mug"))
LOG_OF = (UserHistory("u", "18 to 23", PAST), UserHistory("v", None, PAST[:1] * 2))


@pytest.fixture
def parts(served_parts: dict[str, Any]) -> dict[str, Any]:
    """A served model whose prompts hold user ids."""
    prompts = served_parts["prompts"]
    config = replace(prompts.config, user_ids=True)
    encoder = PromptEncoder(prompts.tokenizer, prompts.templates, config)
    clicked = QueryItems.from_log(TrainLog((), LOG_OF))
    return served_parts | {"prompts": encoder, "query_items": clicked}


def test_searches_read_what_training_reads(
    parts: dict[str, Any], catalogue: tuple[Item, ...], tmp_path: Path
) -> None:
    ServedModel.write(tmp_path / "served", **parts)
    served = ServedModel.load(tmp_path / "served")
    codes = served.codebooks.encode(served.text_encoder.encode([item.title for item in catalogue]))
    queries = ["red lamp", "mug", "kettle"]
    query_codes = served.codebooks.encode(served.text_encoder.encode(queries))
    inputs = StageInputs(
        TrainLog(tuple(catalogue), LOG_OF),
        codes,
        dict(zip(queries, query_codes, strict=True)),
        parts["prompts"],
        user_ids=UserIds(served.trie.level_sizes, codes.__getitem__, parts["query_items"]),
    )
    writer = PromptWriter(served, 4096)
    past = [PastEvent(catalogue[event.row].item_id, event.query) for event in PAST]
    profile = "18 to 23"
    for history, events in ((past, PAST), ([], ()), (past[:1], PAST[:1])):
        for query in ("kettle", "red lamp", None):
            case = EvalCase("u", profile, events, query, None, 0, "stop", 0, 0)
            (row,) = validation_rows([case], inputs)
            prompt = row.ids[: row.learnt.index(True)]
            request = SearchRequest(query, UserContext(profile, history))
            assert writer.prompts([writer.case(request)]) == [prompt]
    shown = served.prompts.tokenizer.hf.decode(prompt)
    assert shown.count("<user>") == 2  # of the question, and of the one event before it
    (trained,) = list(find_stage("personalisation", ["search"]).tasks["search"](inputs))[:1]
    text = served.prompts.tokenizer.hf.decode(trained.ids)
    assert text.count("<user>") == 3  # the log holds another click for the first event's query


def test_prompts_say_no_ids_unless_asked(served_parts: dict[str, Any]) -> None:
    assert not PromptConfig().user_ids
    sid = tuple(0 for _ in served_parts["trie"].level_sizes)
    prompts = served_parts["prompts"]
    without = prompts.next_item_prompt(None, [])
    assert prompts.next_item_prompt(None, [], (sid, sid)) == without


def test_ids_need_the_items_of_queries(parts: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="query_items: expected clicked items"):
        ServedModel.write(tmp_path / "served", **{**parts, "query_items": None})
    ServedModel.write(tmp_path / "served", **parts)
    (tmp_path / "served" / "query_items.json").write_text('{"mug": [[100000, 1]]}')
    with pytest.raises(ServedModelError, match=r"query_items\.json"):
        ServedModel.load(tmp_path / "served")


def test_files_of_other_items_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "query_items.json"
    clicked = QueryItems({"杯子 mug": ((3, 2), (1, 1))})
    clicked.save(path)
    assert QueryItems.load(path, 4) == clicked
    with pytest.raises(FormatError, match="rows 1 to 3 of 3 items"):
        QueryItems.load(path, 3)
    for text in ("[]", '{"mug": 3}', '{"mug": [["a", 1]]}', "{"):
        path.write_text(text)
        with pytest.raises(FormatError, match="query_items"):
            QueryItems.load(path, 4)
