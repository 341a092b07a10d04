"""Searches that must stop early: the levels done are kept, the others completed without a model."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

import onesearch_fast as osf
from onesearch_fast.engine import beam_search
from onesearch_fast.engine.deadline import Deadline, one_deadline_per_request
from onesearch_fast.engine.prompt_reader import PromptReader
from onesearch_fast.testing import random_codes
from onesearch_fast.testing.random_models import random_model

SIZES = (12, 10, 9, 8)
OFFSETS = (50, 62, 72, 81)
CODES = random_codes(300, SIZES, seed=6, skew=0.9)
PROMPTS = [[5, 9, 1, 30, 2, 2], [7], [49, 0, 3, 11]]


@pytest.fixture(scope="module")
def engine() -> osf.Engine:
    trie = osf.SidTrie.build(CODES, SIZES)
    model = random_model("qwen3", 95)
    return osf.Engine.from_pretrained(model, trie, dtype="float32", code_token_offsets=OFFSETS)


def stop_after(monkeypatch: pytest.MonkeyPatch, levels: int) -> None:
    """Every deadline is over once so many levels have been scored."""
    asked = iter(range(1000))
    monkeypatch.setattr(Deadline, "passed", lambda _: next(asked) >= levels)


def completed(codes: tuple[int, ...], scored: int) -> float:
    """What the levels past `scored` add: even chances among the codes that lead on."""
    added = 0.0
    for level in range(scored, len(SIZES)):
        below = CODES[(CODES[:, :level] == codes[:level]).all(axis=1), level]
        added -= math.log(len(set(below.tolist())))
    return added


@pytest.mark.parametrize("scored", [0, 1, 2, 3])
def test_the_levels_done_decide_and_the_rest_is_completed_evenly(
    engine: osf.Engine, monkeypatch: pytest.MonkeyPatch, scored: int
) -> None:
    whole = engine.generate(PROMPTS[:1], num_beams=400)
    prefix_score = prefix_scores(engine, scored)
    stop_after(monkeypatch, scored)
    out = engine.generate(PROMPTS[:1], num_beams=400)
    assert out.levels_scored.tolist() == [scored] and out.complete.tolist() == [False]
    assert out.count.tolist() == whole.count.tolist()
    for codes, score in zip(out.codes[0].tolist(), out.scores[0].tolist(), strict=True):
        if codes[0] >= 0:
            expected = prefix_score[tuple(codes[:scored])] + completed(tuple(codes), scored)
            assert score == pytest.approx(expected, abs=1e-4)
    assert (out.scores.diff() <= 0)[0, : int(out.count[0]) - 1].all()


def prefix_scores(engine: osf.Engine, levels: int) -> dict[tuple[int, ...], float]:
    """Scores of all prefixes of so many codes, seen while they are chosen."""
    seen: dict[tuple[int, ...], float] = {(): 0.0}
    step, paths = beam_search.constrained_beam_step, [()]

    def watched(*args: Any, **options: Any) -> Any:
        nonlocal paths
        out = step(*args, **options)
        kept = int(out.count[0])
        parents, tokens = out.parent_beam[0, :kept].tolist(), out.tokens[0, :kept].tolist()
        paths = [(*paths[one], token) for one, token in zip(parents, tokens, strict=True)]
        seen.update(zip(paths, out.scores[0, :kept].tolist(), strict=True))
        return out

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(beam_search, "constrained_beam_step", watched)
        engine.generate(PROMPTS[:1], num_beams=400)
    return {path: score for path, score in seen.items() if len(path) == levels}


def test_no_time_at_all_gives_a_short_marked_answer(
    engine: osf.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PromptReader, "read", lambda *_: pytest.fail("the prompt was read"))
    out = engine.generate(PROMPTS, num_beams=7, deadline_ms=0)
    assert out.levels_scored.tolist() == [0] * 3 and not out.complete.any()
    assert out.count.tolist() == [7] * 3
    assert (out.rank[:, :7] >= 0).all() and (out.item_ids(5)[0] >= 0).all()


def test_a_filter_holds_however_little_time_there_is(engine: osf.Engine) -> None:
    few = engine.trie.filter(allow=[3, 77, 200])
    out = engine.generate(PROMPTS[:1], num_beams=50, filter=few, deadline_ms=0)
    ids, count = out.item_ids(10)
    assert set(ids[0, : int(count[0])].tolist()) == {3, 77, 200}
    nothing = engine.trie.filter(allow=np.array([], dtype=np.int64))
    out = engine.generate(PROMPTS[:1], num_beams=5, filter=nothing, deadline_ms=0)
    assert out.count.tolist() == [0] and not out.complete.any()


def test_time_enough_changes_nothing(engine: osf.Engine) -> None:
    expected = engine.generate(PROMPTS, num_beams=9)
    for deadline in (60_000, 6e4, np.float32(6e4), math.inf, [None, 60_000, math.inf]):
        out = engine.generate(PROMPTS, num_beams=9, deadline_ms=deadline)  # type: ignore[arg-type]
        assert out.complete.all()
        torch.testing.assert_close(out.scores, expected.scores, atol=1e-4, rtol=0)
        assert torch.equal(out.rank, expected.rank)


def test_each_request_has_its_own_time(engine: osf.Engine) -> None:
    """Those in a hurry go first; all come back where they stood."""
    out = engine.generate(PROMPTS, num_beams=9, deadline_ms=[None, 0, 60_000])
    assert out.complete.tolist() == [True, False, True]
    assert out.levels_scored.tolist() == [4, 0, 4]
    assert out.stats.batches == 3
    expected = engine.generate(PROMPTS, num_beams=9)
    for row in (0, 2):
        assert torch.equal(out.rank[row], expected.rank[row])


def test_deadlines_are_counted_from_the_call() -> None:
    soon, late, never = one_deadline_per_request("x", [0, 1e6, None], 3)
    assert soon.passed() and not late.passed() and not never.passed()
    assert soon < late < never


@pytest.mark.parametrize("bad", [-1, math.nan, True, "5", [1.0, 2.0], [1, 2, -3]])
def test_times_that_are_none_are_refused(engine: osf.Engine, bad: Any) -> None:
    with pytest.raises((ValueError, TypeError), match="deadline_ms"):
        engine.generate(PROMPTS, num_beams=2, deadline_ms=bad)


def test_an_unconstrained_search_cannot_be_cut(engine: osf.Engine) -> None:
    with pytest.raises(ValueError, match="deadline_ms"):
        engine.generate(PROMPTS, num_beams=2, constrained=False, deadline_ms=5)
