"""Rollouts: independent draws from exactly the distribution that `score` speaks of."""

import numpy as np
import pytest
import torch

import onesearch_fast as osf
from onesearch_fast.testing import random_codes
from onesearch_fast.testing.random_models import random_model

SIZES = (4, 3, 3)
OFFSETS = (50, 54, 57)
VOCAB = 60
CODES = np.unique(random_codes(14, SIZES, seed=6), axis=0)
PROMPTS = [[5, 9, 1, 30, 2, 2], [7], [49, 0, 3]]


def engine_of(kind: str, trie: osf.SidTrie) -> osf.Engine:
    model = random_model(kind, VOCAB)
    return osf.Engine.from_pretrained(model, trie, dtype="float32", code_token_offsets=OFFSETS)


@pytest.fixture(scope="module")
def trie() -> osf.SidTrie:
    return osf.SidTrie.build(CODES, SIZES)


@pytest.mark.parametrize("kind", ["qwen3", "bart"])
def test_log_probs_are_the_scores_of_what_was_drawn(kind, trie):
    engine = engine_of(kind, trie)
    samples = engine.sample(PROMPTS, num_samples=20)
    assert trie.contains(samples.codes.reshape(-1, 3).numpy()).all()
    assert (
        trie.codes(samples.rank.reshape(-1).numpy()).reshape(3, 20, 3) == samples.codes.numpy()
    ).all()
    scores = engine.score(PROMPTS, samples.codes, "children")
    torch.testing.assert_close(samples.log_probs, scores, atol=1e-4, rtol=0)


@pytest.mark.parametrize("temperature", [0.5, 1.0])
def test_draws_have_their_frequencies(temperature, trie):
    engine = engine_of("qwen3", trie)
    draws = 20_000
    samples = engine.sample(PROMPTS[:1], draws, temperature)
    seen = np.bincount(samples.rank[0].numpy(), minlength=trie.num_sids) / draws
    chances = np.zeros(trie.num_sids)
    chances[samples.rank[0].numpy()] = samples.log_probs[0].double().exp().numpy()
    if temperature == 1.0:
        every = torch.from_numpy(trie.codes(np.arange(trie.num_sids)))
        expected = engine.score(PROMPTS[:1], every[None], "children")[0].exp().numpy()
        np.testing.assert_allclose(chances, np.where(seen > 0, expected, 0), atol=1e-5)
    error = np.sqrt(chances * (1 - chances) / draws)
    assert (np.abs(seen - chances) < 5 * error + 1e-9).all()


def test_draws_of_a_prompt_are_independent(trie):
    """Pairs of draws are as frequent as their chances say: nothing is drawn without replacement."""
    engine = engine_of("qwen3", trie)
    samples = engine.sample(PROMPTS[:1] * 4000, 2)
    chances = samples.log_probs[:, 0].double().exp()
    ranks = samples.rank.numpy()
    best = int(ranks[chances.argmax(), 0])
    chance = float(chances.max())
    both = ((ranks[:, 0] == best) & (ranks[:, 1] == best)).mean()
    assert both == pytest.approx(chance**2, abs=5 * np.sqrt(chance**2 * (1 - chance**2) / 4000))


def test_a_seed_fixes_the_draws_and_another_changes_them(trie):
    engine = engine_of("qwen3", trie)
    one, same, other = (engine.sample(PROMPTS, 30, seed=seed).rank for seed in (1, 1, 2))
    assert torch.equal(one, same) and not torch.equal(one, other)
    seeds = torch.tensor([7, 8, 9])
    together = engine.sample(PROMPTS, 30, seed=seeds).rank
    alone = engine.sample(PROMPTS[1:2], 30, seed=seeds[1:2]).rank
    assert torch.equal(together[1], alone[0])


def test_tenants_draw_from_their_own_tries(trie):
    other = osf.SidTrie.build(CODES[::2], SIZES)
    engine = engine_of("qwen3", trie)
    samples = engine.sample(PROMPTS[:2], 50, trie=[other, trie])
    assert other.contains(samples.codes[0].numpy()).all()
    assert not other.contains(samples.codes[1].numpy()).all()


def test_one_sid_is_drawn_for_certain():
    engine = engine_of("qwen3", osf.SidTrie.build(CODES[:1], SIZES))
    samples = engine.sample(PROMPTS, 3)
    assert (samples.log_probs == 0).all() and (samples.rank == 0).all()


def test_a_budget_changes_no_draw(trie):
    model = random_model("qwen3", VOCAB)
    plain = osf.Engine.from_pretrained(model, trie, dtype="float32", code_token_offsets=OFFSETS)
    split = osf.Engine.from_pretrained(
        model, trie, dtype="float32", code_token_offsets=OFFSETS, deterministic=True
    )
    assert torch.equal(plain.sample(PROMPTS, 20).rank, split.sample(PROMPTS, 20).rank)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"num_samples": 0}, "num_samples"),
        ({"temperature": 0.0}, "temperature: expected a number more than 0"),
        ({"temperature": "1"}, "temperature: expected a number more than 0"),
        ({"seed": torch.tensor([1])}, "seed"),
        ({"seed": torch.ones(3)}, "seed: expected an integer below"),
        ({"seed": None}, "seed: expected an integer below"),
        ({"seed": True}, "seed: expected an integer below"),
        ({"seed": 1 << 63}, "seed: expected an integer below"),
    ],
)
def test_bad_arguments_are_refused(arguments, complaint, trie):
    with pytest.raises(ValueError, match=complaint):
        engine_of("qwen3", trie).sample(PROMPTS, **arguments)
