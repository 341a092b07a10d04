"""The searches against plain ones that run the whole sequence again for every beam."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import onesearch_fast as osf
from onesearch_fast.testing import random_codes
from onesearch_fast.testing.random_models import random_model

SIZES = (7, 5, 6)
OFFSETS = (20, 27, 32)
VOCAB = 38
CODES = np.unique(random_codes(90, SIZES, seed=2, skew=0.5), axis=0)
PROMPT = [3, 1, 4, 1, 5]


def log_normalizer(normalizer: str, row: torch.Tensor, level: int, children: set[int]) -> float:
    own = row[OFFSETS[level] : OFFSETS[level] + SIZES[level]]
    if normalizer == "level":
        return float(own.logsumexp(0))
    if normalizer == "children":
        return float(own[sorted(children)].logsumexp(0))
    return float(row.logsumexp(0)) if normalizer == "vocab" else 0.0


def plain_search(
    model: torch.nn.Module, widths: tuple[int, ...], normalizer: str
) -> list[tuple[float, tuple[int, ...]]]:
    beams: list[tuple[float, tuple[int, ...]]] = [(0.0, ())]
    for level, width in enumerate(widths):
        grown = []
        for score, path in beams:
            tokens = [code + OFFSETS[i] for i, code in enumerate(path)]
            with torch.no_grad():
                row = model(input_ids=torch.tensor([PROMPT + tokens])).logits[0, -1].double()
            below = CODES[(CODES[:, :level] == path).all(axis=1), level]
            children = {int(code) for code in below}
            log_z = log_normalizer(normalizer, row, level, children)
            grown += [
                (score + float(row[OFFSETS[level] + code]) - log_z, (*path, code))
                for code in children
            ]
        beams = sorted(grown, reverse=True)[:width]
    return beams


@pytest.mark.parametrize("num_beams", [1, 3, 11, 300])
@pytest.mark.parametrize("normalizer", ["level", "children", "none", "vocab"])
def test_equals_a_search_without_any_cache(normalizer: str, num_beams: int) -> None:
    model = random_model("qwen3", VOCAB, seed=4)
    trie = osf.SidTrie.build(CODES, SIZES)
    engine = osf.Engine.from_pretrained(model, trie, dtype="float32", code_token_offsets=OFFSETS)
    out = engine.generate([PROMPT], num_beams=num_beams, normalizer=normalizer)
    expected = plain_search(model, (num_beams,) * len(SIZES), normalizer)
    count = int(out.count[0])
    assert count == len(expected) == min(num_beams, len(CODES))
    assert out.codes[0, :count].tolist() == [list(path) for _, path in expected]
    scores = torch.tensor([score for score, _ in expected])
    torch.testing.assert_close(out.scores[0, :count], scores, atol=1e-4, rtol=1e-4)
    assert out.rank[0, :count].tolist() == trie.rank(out.codes[0, :count].numpy()).tolist()
    assert (out.codes[0, count:] == -1).all() and (out.rank[0, count:] == -1).all()
    assert (out.scores[0, count:] == -math.inf).all()


@pytest.mark.parametrize("widths", [(2, 5, 11), (1, 1, 4), (7, 3, 1), (3, 200, 50)])
def test_each_level_may_keep_its_own_number_of_beams(widths: tuple[int, ...]) -> None:
    model = random_model("qwen3", VOCAB, seed=4)
    trie = osf.SidTrie.build(CODES, SIZES)
    engine = osf.Engine.from_pretrained(model, trie, dtype="float32", code_token_offsets=OFFSETS)
    out = engine.generate([PROMPT], beam_schedule=widths)
    expected = plain_search(model, widths, "level")
    count = int(out.count[0])
    assert out.codes.shape == (1, widths[-1], len(SIZES))
    assert out.codes[0, :count].tolist() == [list(path) for _, path in expected]
    scores = torch.tensor([score for score, _ in expected])
    torch.testing.assert_close(out.scores[0, :count], scores, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("schedule", [(4, 4), (4, 4, 0), 7, (4, 4, 1 << 17), "444", (4, 4, True)])
def test_schedules_that_are_none_are_refused(schedule: object) -> None:
    trie = osf.SidTrie.build(CODES, SIZES)
    model = random_model("qwen3", VOCAB)
    engine = osf.Engine.from_pretrained(model, trie, dtype="float32", code_token_offsets=OFFSETS)
    with pytest.raises(ValueError, match="beam_schedule"):
        engine.generate([PROMPT], beam_schedule=schedule)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="num_beams"):
        engine.generate([PROMPT], num_beams=[4], beam_schedule=(4, 4, 4))


def constant_model() -> torch.nn.Module:
    """Every token is equally likely, whatever came before."""
    model = random_model("qwen3", VOCAB)
    with torch.no_grad():
        model.lm_head.weight.zero_()
    return model


def test_ties_go_to_the_lower_parent_then_to_the_lower_code() -> None:
    trie = osf.SidTrie.build(CODES, SIZES)
    engine = osf.Engine.from_pretrained(
        constant_model(), trie, dtype="float32", code_token_offsets=OFFSETS
    )
    out = engine.generate([PROMPT], num_beams=20)
    assert out.codes[0].tolist() == CODES[:20].tolist()
    plain = engine.generate([PROMPT], num_beams=4, constrained=False)
    assert (plain.codes == -1).all()  # tokens 0 to 3, thrice, are no codes
    torch.testing.assert_close(plain.scores, torch.full((1, 4), -3 * math.log(VOCAB)))


def test_the_unconstrained_search_finds_sids_when_the_model_wants_them() -> None:
    """A model that gives the code tokens of one SID at their places, and little else."""
    trie = osf.SidTrie.build(CODES, SIZES)
    engine = osf.Engine.from_pretrained(
        random_model("qwen3", VOCAB, seed=1), trie, dtype="float32", code_token_offsets=OFFSETS
    )
    everything = engine.generate([PROMPT], num_beams=VOCAB**2, constrained=False)
    own = engine.generate([PROMPT], num_beams=len(CODES), normalizer="vocab")
    found = everything.rank[0] >= 0
    assert int(everything.count[0]) == VOCAB**2
    best = dict(zip(own.rank[0].tolist(), own.scores[0].tolist(), strict=True))
    for rank, score in zip(
        everything.rank[0][found].tolist(), everything.scores[0][found].tolist(), strict=True
    ):
        assert best[rank] == pytest.approx(score, abs=1e-4)
    assert found.any()
    scores = everything.scores[0]
    assert (scores.diff() <= 0).all()
