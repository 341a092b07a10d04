"""Why an item is not found: every reason, told by what a full search knows."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import onesearch_fast as osf
from onesearch_fast.testing import random_codes
from onesearch_fast.testing.random_models import random_model

SIZES = (12, 10, 9)
OFFSETS = (50, 62, 72)
CODES = random_codes(300, SIZES, seed=6, skew=0.9)
TRIE = osf.SidTrie.build(CODES, SIZES)
PROMPT = [[5, 9, 1, 30, 2, 2]]
BEAMS = 10


@pytest.fixture(scope="module")
def engine() -> osf.Engine:
    model = random_model("qwen3", 81)
    return osf.Engine.from_pretrained(model, TRIE, dtype="float32", code_token_offsets=OFFSETS)


def test_every_item_is_accounted_for(engine: osf.Engine) -> None:
    """Found where the search finds it, else outranked, with its place in the order of all."""
    out = engine.generate(PROMPT, num_beams=BEAMS)
    everything = engine.generate(PROMPT, num_beams=TRIE.num_sids)
    place_of = {rank: place for place, rank in enumerate(everything.rank[0].tolist())}
    found = out.rank[0].tolist()
    for item_id in range(0, 300, 7):
        why = engine.why_not(PROMPT, item_id, num_beams=BEAMS)
        rank = int(TRIE.rank(CODES[item_id : item_id + 1])[0])
        assert why.codes == tuple(CODES[item_id].tolist()) and why.item_id == item_id
        assert [report.code for report in why.levels] == CODES[item_id].tolist()
        last = why.levels[-1]
        assert last.score == pytest.approx(float(everything.scores[0, place_of[rank]]), abs=1e-4)
        assert (why.reason == "found") == (rank in found)
        if why.reason == "found":
            assert why.place == found.index(rank) and why.lost_at is None
        else:
            assert why.reason == "outranked" and why.lost_at is not None
            assert why.place == place_of[rank] and why.place_is_exact
            lost = why.levels[why.lost_at]
            assert lost.place is None and lost.score < lost.threshold
            assert all(report.place is not None for report in why.levels[: why.lost_at])


def test_enough_beams_are_enough(engine: osf.Engine) -> None:
    for item_id in range(0, 300, 23):
        why = engine.why_not(PROMPT, item_id, num_beams=2)
        if why.reason == "outranked":
            assert why.sufficient_beams is not None
            again = engine.why_not(PROMPT, item_id, num_beams=why.sufficient_beams)
            assert again.reason == "found"
            assert f"{why.sufficient_beams} beams are enough" in str(why)


def test_a_search_too_narrow_to_tell_says_so(engine: osf.Engine) -> None:
    everything = engine.generate(PROMPT, num_beams=TRIE.num_sids)
    worst = everything.codes[0, int(everything.count[0]) - 1].tolist()
    why = engine.why_not(PROMPT, codes=worst, num_beams=2, max_beams=3)
    assert why.reason == "outranked" and why.place is None and why.sufficient_beams is None
    assert str(why).startswith(f"SID {tuple(worst)}: fell out of 2 beams at level ")


def test_what_is_not_there_is_absent(engine: osf.Engine) -> None:
    why = engine.why_not(PROMPT, 12345, num_beams=BEAMS)
    assert (why.reason, why.codes, why.levels) == ("absent", None, ())
    assert str(why) == "item 12345: not in the catalogue"
    every = torch.cartesian_prod(*(torch.arange(size) for size in SIZES)).numpy()
    absent = every[~TRIE.contains(every)][0].tolist()
    assert engine.why_not(PROMPT, codes=absent).reason == "absent"
    assert engine.why_not(PROMPT, codes=[99, 0, 0]).reason == "absent"


def test_a_filter_that_refuses_is_named(engine: osf.Engine) -> None:
    cheap = TRIE.filter(allow=np.arange(100))
    why = engine.why_not(PROMPT, 200, num_beams=BEAMS, filter=cheap)
    assert why.reason == "filtered" and "refused by the filter" in str(why)
    allowed = engine.why_not(PROMPT, 50, num_beams=300, filter=cheap)
    assert allowed.reason == "found"


def test_the_conditions_that_refuse_are_named() -> None:
    values = {"price": np.arange(300), "in_stock": np.arange(300) % 2 == 0}
    columns = osf.ItemColumns.build(TRIE, values)
    engine = osf.Engine.from_pretrained(
        random_model("qwen3", 81),
        TRIE,
        dtype="float32",
        code_token_offsets=OFFSETS,
        columns=columns,
    )
    where = (osf.col("price") < 100) & osf.col("in_stock") & (osf.col("price") >= 0)
    why = engine.why_not(PROMPT, 201, filter=where)
    assert why.refused_by == ("price < 100", "in_stock")
    assert "refused by the filter: (price < 100) and (in_stock)" in str(why)
    assert engine.why_not(PROMPT, 202, filter=str(where)).refused_by == ("price < 100",)
    assert engine.why_not(PROMPT, 10, filter=where, num_beams=300).reason == "found"
    either = (osf.col("price") < 5) | (osf.col("price") > 295)
    assert engine.why_not(PROMPT, 10, filter=either).refused_by == (str(either),)


def test_logits_that_are_no_numbers_are_named() -> None:
    model = random_model("qwen3", 81)
    model.get_output_embeddings().weight.data[OFFSETS[1] + 5] = math.nan  # type: ignore[operator]
    broken = osf.Engine.from_pretrained(model, TRIE, dtype="float32", code_token_offsets=OFFSETS)
    why = broken.why_not(PROMPT, 3, num_beams=BEAMS)
    assert why.reason == "dead" and len(why.levels) == 1
    assert "not numbers from level 1 on" in str(why)


def test_a_live_store_is_explained_by_version(tmp_path: Path, engine: osf.Engine) -> None:
    with osf.LiveStore.create(tmp_path / "store", CODES, SIZES) as store:
        store.delete([7])
        store.insert([1000], CODES[8:9])
        gone = engine.why_not(PROMPT, 7, trie=store, num_beams=400)
        assert gone.reason == "absent" and gone.version == 2 and "version 2" in str(gone)
        new = engine.why_not(PROMPT, 1000, trie=store, num_beams=400)
        assert new.reason == "found" and new.codes == tuple(CODES[8].tolist())
        assert store.snapshot().item_codes([1000, 7, 8]).tolist() == [
            CODES[8].tolist(),
            [-1] * 3,
            CODES[8].tolist(),
        ]


def test_schedules_and_caps_are_those_of_the_search(engine: osf.Engine) -> None:
    out = engine.generate(PROMPT, beam_schedule=(2, 5, 9))
    for item_id in range(0, 300, 31):
        why = engine.why_not(PROMPT, item_id, beam_schedule=(2, 5, 9))
        assert (why.reason == "found") == (list(why.codes or ()) in out.codes[0].tolist())


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({}, "item_id"),
        ({"item_id": 3, "codes": [0, 0, 0]}, "item_id"),
        ({"codes": [0, 0]}, "codes"),
        ({"item_id": 3, "input_ids": [[1], [2]]}, "input_ids"),
        ({"item_id": 3, "max_beams": 0}, "max_beams"),
        ({"item_id": 3, "num_beams": 0}, "num_beams"),
    ],
)
def test_bad_questions_are_refused(
    engine: osf.Engine, arguments: dict[str, Any], named: str
) -> None:
    with pytest.raises(ValueError, match=named):
        engine.why_not(**({"input_ids": PROMPT} | arguments))
