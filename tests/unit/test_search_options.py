"""Batches of unlike requests: widths, tenants, priors, quotas, noise; and what is proven exact."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import onesearch_fast as osf
from onesearch_fast import SearchOptions
from onesearch_fast.testing import random_codes
from onesearch_fast.testing.random_models import random_model

SIZES = (12, 10, 9)
OFFSETS = (50, 62, 72)
VOCAB = 86
CODES = np.unique(random_codes(400, SIZES, seed=6, skew=0.9), axis=0)
OTHER_CODES = np.unique(random_codes(90, SIZES, seed=7), axis=0)
PROMPTS = [[5, 9, 1, 30, 2, 2], [7], [49, 0, 3, 11, 12], [8, 8, 8]]
NORMALIZERS = ("level", "children", "vocab")


@pytest.fixture(scope="module")
def trie() -> osf.SidTrie:
    return osf.SidTrie.build(CODES, SIZES)


@pytest.fixture(scope="module")
def other_trie() -> osf.SidTrie:
    ids = 1000 + np.arange(len(OTHER_CODES))
    return osf.SidTrie.build(OTHER_CODES, SIZES, item_ids=ids)


@pytest.fixture(scope="module")
def engine(trie: osf.SidTrie) -> osf.Engine:
    model = random_model("qwen3", VOCAB)
    return osf.Engine.from_pretrained(model, trie, dtype="float32", code_token_offsets=OFFSETS)


def assert_row(got: Any, row: int, alone: Any) -> None:
    """Row `row` of a batch is what the request finds alone."""
    count = int(alone.count[0])
    assert int(got.count[row]) == count
    assert torch.equal(got.rank[row, :count], alone.rank[0, :count])
    torch.testing.assert_close(got.scores[row, :count], alone.scores[0, :count], atol=1e-4, rtol=0)
    assert (got.rank[row, count:] == -1).all()
    assert (got.scores[row, count:] == -math.inf).all()


def brute_force(engine: osf.Engine, prompt: list[int], normalizer: str) -> torch.Tensor:
    """The score of every SID, by rank."""
    every = torch.from_numpy(engine.trie.codes(np.arange(engine.trie.num_sids)))
    return engine.score([prompt], every[None], normalizer)[0]


# Unlike requests in one batch


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_a_batch_is_its_requests(
    engine: osf.Engine, trie: osf.SidTrie, other_trie: osf.SidTrie, data: st.DataObject
) -> None:
    """Whatever their prompts, widths, filters and catalogues."""
    requests = data.draw(st.lists(st.sampled_from(PROMPTS), min_size=1, max_size=4))
    batch = len(requests)
    widths = [data.draw(st.sampled_from([1, 2, 9, 40, 500])) for _ in requests]
    tries = [data.draw(st.sampled_from([trie, other_trie])) for _ in requests]
    filters = [draw_filter(data, one) for one in tries]
    normalizer = data.draw(st.sampled_from(NORMALIZERS))
    got = engine.generate(
        requests, num_beams=widths, trie=tries, filter=filters, normalizer=normalizer
    )
    assert got.rank.shape == (batch, max(widths))
    ids, counts = got.item_ids(max(widths))
    for row in range(batch):
        alone = engine.generate(
            [requests[row]],
            num_beams=widths[row],
            trie=tries[row],
            filter=filters[row],
            normalizer=normalizer,
        )
        assert_row(got, row, alone)
        own, count = alone.item_ids(max(widths))
        assert torch.equal(ids[row], own[0]) and int(counts[row]) == int(count[0])


def draw_filter(data: st.DataObject, trie: osf.SidTrie) -> osf.ItemFilter | None:
    if data.draw(st.booleans()):
        return None
    ids = trie.items(np.arange(trie.num_sids))[0]
    share = data.draw(st.sampled_from([0.0, 0.02, 0.5]))
    chosen = np.random.default_rng(data.draw(st.integers(0, 3))).random(len(ids)) < share
    return trie.filter(allow=ids[chosen])


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), normalizer=st.sampled_from((*NORMALIZERS, "none")))
def test_a_filter_is_brute_force_filtered_afterwards(
    engine: osf.Engine, trie: osf.SidTrie, data: st.DataObject, normalizer: str
) -> None:
    chosen = draw_filter(data, trie)
    prompt = data.draw(st.sampled_from(PROMPTS))
    out = engine.generate([prompt], num_beams=500, filter=chosen, normalizer=normalizer)
    scores = brute_force(engine, prompt, normalizer)
    allowed = torch.ones(trie.num_sids, dtype=torch.bool)
    if chosen is not None:
        allowed = torch.from_numpy(chosen.rank_allowed())
    count = int(out.count[0])
    assert count == int(allowed.sum())
    assert set(out.rank[0, :count].tolist()) == set(allowed.nonzero().flatten().tolist())
    expected = scores[allowed].sort(descending=True).values
    torch.testing.assert_close(out.scores[0, :count], expected, atol=1e-4, rtol=0)


def test_tenants_keep_apart(engine: osf.Engine, trie: osf.SidTrie, other_trie: osf.SidTrie) -> None:
    out = engine.generate(PROMPTS, num_beams=500, trie=[trie, other_trie, other_trie, trie])
    ids, counts = out.item_ids(500)
    assert counts.tolist() == [len(CODES), len(OTHER_CODES), len(OTHER_CODES), len(CODES)]
    assert int(ids[0].max()) < 1000 <= int(ids[1, : int(counts[1])].min())
    codes = torch.from_numpy(OTHER_CODES[:5])[None]
    scores = engine.score(PROMPTS[1:2], codes, "children", trie=other_trie)
    children = engine.generate(PROMPTS[1:2], num_beams=500, normalizer="children", trie=other_trie)
    found = dict(zip(children.rank[0].tolist(), children.scores[0].tolist(), strict=True))
    expected = [found[rank] for rank in other_trie.rank(OTHER_CODES[:5]).tolist()]
    torch.testing.assert_close(scores[0], torch.tensor(expected), atol=1e-4, rtol=0)


def test_tenants_that_do_not_match_are_refused(engine: osf.Engine, trie: osf.SidTrie) -> None:
    flat = osf.SidTrie.build([[0, 0]], (12, 10))
    with pytest.raises(ValueError, match="trie: expected level_sizes"):
        engine.generate(PROMPTS[:2], num_beams=2, trie=[trie, flat])
    with pytest.raises(ValueError, match="trie: expected one, or one per request"):
        engine.generate(PROMPTS[:2], num_beams=2, trie=[trie])
    for bad in (5, "trie", [trie, None]):
        with pytest.raises(TypeError, match="trie"):
            engine.generate(PROMPTS[:2], num_beams=2, trie=bad)  # type: ignore[arg-type]
    other = osf.SidTrie.build(OTHER_CODES, SIZES)
    with pytest.raises(ValueError, match="filter"):
        engine.generate(PROMPTS[:2], num_beams=2, trie=[trie, other], filter=trie.filter(allow=[1]))


@pytest.mark.parametrize("widths", [[4], [4, 4, 4], [4, 0], [4, True], "44"])
def test_widths_that_do_not_fit_are_refused(engine: osf.Engine, widths: Any) -> None:
    with pytest.raises(ValueError, match="num_beams"):
        engine.generate(PROMPTS[:2], num_beams=widths)


# Options


def test_a_prior_moves_beams_and_leaves_scores(engine: osf.Engine, trie: osf.SidTrie) -> None:
    plain = engine.generate(PROMPTS[:1], num_beams=500)
    last = int(plain.rank[0, int(plain.count[0]) - 1])
    prior = torch.zeros(trie.num_sids)
    prior[last] = 1000.0
    options = SearchOptions(node_priors=[None, None, prior])
    out = engine.generate(PROMPTS[:1], num_beams=500, options=options)
    assert int(out.rank[0, 0]) == last
    order = plain.rank[0].argsort()
    torch.testing.assert_close(
        out.scores[0][out.rank[0].argsort()], plain.scores[0][order], atol=1e-4, rtol=0
    )


def test_a_quota_bounds_what_follows_one_beam(engine: osf.Engine) -> None:
    out = engine.generate(
        PROMPTS[:1], num_beams=500, options=SearchOptions(max_children_per_parent=2)
    )
    codes = out.codes[0, : int(out.count[0])].tolist()
    for level in range(len(SIZES)):
        prefixes = {tuple(row[: level + 1]) for row in codes}
        assert max(Counter(prefix[:-1] for prefix in prefixes).values()) <= 2
    free = engine.generate(PROMPTS[:1], num_beams=500)
    assert len(codes) < int(free.count[0])


def test_a_penalty_spreads_the_beams(engine: osf.Engine) -> None:
    def first_codes(options: SearchOptions) -> set[int]:
        out = engine.generate(PROMPTS[:1], num_beams=12, options=options)
        return set(out.codes[0, :, 0].tolist())

    diverse = first_codes(SearchOptions(sibling_penalty=20.0))
    assert len(diverse) > len(first_codes(SearchOptions()))


def test_noise_draws_without_replacement_and_repeats_by_seed(engine: osf.Engine) -> None:
    def sample(seed: int | torch.Tensor, beams: int = 8) -> Any:
        return engine.generate(PROMPTS, num_beams=beams, options=SearchOptions(seed=seed))

    first, again, other = sample(3), sample(3), sample(4)
    assert torch.equal(first.rank, again.rank)
    assert not torch.equal(first.rank, other.rank)
    assert first.perturbed is not None and (first.perturbed.diff() <= 0).all()
    for row in first.rank.tolist():
        assert len(set(row)) == len(row)
    mixed = sample(torch.tensor([3, 4, 3, 4]))
    for row, source in enumerate((first, other, first, other)):
        assert torch.equal(mixed.rank[row], source.rank[row])
    scores = engine.score(PROMPTS, first.codes)
    torch.testing.assert_close(scores, first.scores, atol=1e-4, rtol=0)


def test_the_first_of_a_sample_is_drawn_by_its_probability(engine: osf.Engine) -> None:
    """1,200 draws of one SID against the softmax over all: chi-square, 3 sigma."""
    draws = 1200
    out = engine.generate(
        PROMPTS[:1] * draws,
        num_beams=1,
        normalizer="children",
        options=SearchOptions(seed=torch.arange(draws)),
    )
    probability = brute_force(engine, PROMPTS[0], "children").exp().double()
    assert probability.sum() == pytest.approx(1, abs=1e-3)
    drawn = torch.bincount(out.rank[:, 0], minlength=len(probability)).double()
    common = probability * draws >= 5
    expected = torch.cat((probability[common], probability[~common].sum()[None])) * draws
    seen = torch.cat((drawn[common], drawn[~common].sum()[None]))
    chi_square = float(((seen - expected) ** 2 / expected).sum())
    freedom = len(expected) - 1
    assert chi_square < freedom + 3 * math.sqrt(2 * freedom)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (SearchOptions(node_priors=[None]), "node_priors"),
        (SearchOptions(node_priors=[None, None, torch.zeros(3)]), "node_prior"),
        (SearchOptions(max_children_per_parent=0), "max_children_per_parent"),
        (SearchOptions(sibling_penalty=-1.0), "sibling_penalty"),
        (SearchOptions(seed=torch.arange(3)), "seed"),
        (SearchOptions(seed=True), "seed"),
    ],
)
def test_bad_options_are_refused(engine: osf.Engine, options: SearchOptions, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        engine.generate(PROMPTS, num_beams=4, options=options)


def test_options_have_their_place(engine: osf.Engine, trie: osf.SidTrie) -> None:
    other = osf.SidTrie.build(OTHER_CODES, SIZES)
    priors = SearchOptions(node_priors=[None, None, torch.zeros(trie.num_sids)])
    with pytest.raises(ValueError, match="node_priors"):
        engine.generate(PROMPTS[:2], num_beams=4, trie=[trie, other], options=priors)
    with pytest.raises(ValueError, match="options"):
        engine.generate(PROMPTS, num_beams=4, constrained=False, options=SearchOptions(seed=1))
    with pytest.raises(TypeError, match="options"):
        engine.generate(PROMPTS, num_beams=4, options=None)  # type: ignore[arg-type]


# Certificates


@pytest.mark.parametrize("normalizer", NORMALIZERS)
def test_what_is_certified_is_the_best_of_all(engine: osf.Engine, normalizer: str) -> None:
    proven = 0
    for prompt in PROMPTS:
        scores, ranks = brute_force(engine, prompt, normalizer).sort(descending=True)
        for beams in (3, 20, 100):
            out = engine.generate([prompt], num_beams=beams, normalizer=normalizer)
            for k in (1, 5, 50):
                certified = out.certified(k)
                assert certified is not None
                if certified.tolist() == [True]:
                    torch.testing.assert_close(out.scores[0, :k], scores[:k], atol=1e-4, rtol=0)
                    assert set(out.rank[0, :k].tolist()) == set(ranks[:k].tolist())
                    proven += 1
                else:
                    assert k > 1 or beams < 100
    assert proven >= len(PROMPTS)


def test_a_search_of_everything_is_certified(engine: osf.Engine, trie: osf.SidTrie) -> None:
    out = engine.generate(PROMPTS, num_beams=trie.num_sids)
    for k in (1, trie.num_sids, trie.num_sids + 1):
        assert out.certified(k).all()  # type: ignore[union-attr]
    few = trie.filter(allow=[3, 77])
    assert engine.generate(PROMPTS, num_beams=12, filter=few).certified(5).all()  # type: ignore[union-attr]


@pytest.mark.parametrize("normalizer", ["level", "vocab"])
def test_what_is_lost_to_logits_that_are_no_numbers_is_not_certified_away(
    trie: osf.SidTrie, normalizer: str
) -> None:
    broken = random_model("qwen3", VOCAB)
    with torch.no_grad():
        broken.model.norm.weight.fill_(math.nan)
    engine = osf.Engine.from_pretrained(broken, trie, dtype="float32", code_token_offsets=OFFSETS)
    nothing, few = trie.filter(allow=[]), trie.filter(allow=[3, 77])
    out = engine.generate([[7]] * 3, num_beams=12, filter=[None, nothing, few])
    assert out.count.tolist() == [0] * 3
    assert out.certified(1).tolist() == [False, True, False]  # type: ignore[union-attr]


def poisoned_engine(trie: osf.SidTrie, level: int, code: int) -> osf.Engine:
    """Whose logits are NaN after this code of this level, and sound elsewhere."""
    broken = random_model("qwen3", VOCAB, tie_word_embeddings=False)
    with torch.no_grad():
        broken.get_input_embeddings().weight[OFFSETS[level] + code] = math.nan
    return osf.Engine.from_pretrained(broken, trie, dtype="float32", code_token_offsets=OFFSETS)


@pytest.mark.parametrize("normalizer", NORMALIZERS)
@pytest.mark.parametrize(("level", "code"), [(0, 0), (0, 1), (0, 5), (1, 0), (1, 2)])
def test_a_poisoned_beam_is_never_certified_away(
    engine: osf.Engine, trie: osf.SidTrie, normalizer: str, level: int, code: int
) -> None:
    """What is certified is best by the scores that a sound model gives all SIDs."""
    broken = poisoned_engine(trie, level, code)
    for prompt in PROMPTS:
        scores, ranks = brute_force(engine, prompt, normalizer).sort(descending=True)
        for beams in (3, 40, trie.num_sids):
            out = broken.generate([prompt], num_beams=beams, normalizer=normalizer)
            for k in (1, 5, 30):
                if out.certified(k).all():  # type: ignore[union-attr]
                    torch.testing.assert_close(out.scores[0, :k], scores[:k], atol=1e-4, rtol=0)
                    assert set(out.rank[0, :k].tolist()) == set(ranks[:k].tolist())


def test_what_scores_above_a_poisoned_beam_is_certified(
    engine: osf.Engine, trie: osf.SidTrie
) -> None:
    """The children of every node share its probability, so a beam's score is the sum below it."""
    seen = Counter[bool]()
    codes = torch.from_numpy(trie.codes(np.arange(trie.num_sids)))
    for code in range(0, SIZES[0], 2):
        broken, below = poisoned_engine(trie, 0, code), codes[:, 0] == code
        for prompt in PROMPTS:
            beam_score = brute_force(engine, prompt, "children")[below].logsumexp(0)
            out = broken.generate([prompt], num_beams=trie.num_sids, normalizer="children")
            assert int(out.count[0]) == int((~below).sum())
            for k in (1, 4, 20):
                certified = bool(out.certified(k).all())  # type: ignore[union-attr]
                assert certified == bool(out.scores[0, k - 1] > beam_score)
                seen[certified] += 1
    assert min(seen[True], seen[False]) > 5


def test_where_nothing_can_be_certified(engine: osf.Engine) -> None:
    prior = SearchOptions(node_priors=[None, None, None])
    assert engine.generate(PROMPTS, num_beams=4, normalizer="none").certified(1) is None
    assert engine.generate(PROMPTS, num_beams=4, options=prior).certified(1) is None
    assert engine.generate(PROMPTS, num_beams=4, options=SearchOptions(seed=1)).certified(1) is None
    assert engine.generate(PROMPTS, num_beams=4, constrained=False).certified(1) is None
    late = engine.generate(PROMPTS, num_beams=500, deadline_ms=0).certified(1)
    assert late is not None and not late.any()
    with pytest.raises(ValueError, match="k:"):
        engine.generate(PROMPTS, num_beams=4).certified(0)


def test_quotas_and_penalties_are_losses_too(engine: osf.Engine) -> None:
    """What they drop may be better than what they keep, and is not certified away."""
    for options in (SearchOptions(max_children_per_parent=1), SearchOptions(sibling_penalty=50.0)):
        for prompt in PROMPTS:
            out = engine.generate([prompt], num_beams=40, options=options)
            scores = brute_force(engine, prompt, "level").sort(descending=True).values
            for k in (1, 3, 10):
                best = torch.allclose(out.scores[0, :k].sort().values, scores[:k].sort().values)
                assert best or not out.certified(k).any()  # type: ignore[union-attr]
