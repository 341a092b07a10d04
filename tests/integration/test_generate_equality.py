"""The engine finds the beams of `transformers` generate with a prefix trie, with its scores."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import onesearch_fast as osf
from onesearch_fast.integrations.transformers import TrieLogitsProcessor
from onesearch_fast.testing import random_codes
from onesearch_fast.testing.random_models import (
    MODEL_TYPES,
    generate_with_transformers,
    prefix_trie,
    random_model,
)

SIZES = (16, 12, 9, 14, 8)
OFFSETS = (60, 76, 88, 97, 111)
VOCAB = 125
TEXT_TOKENS = 60
TIE = 1e-4


def prompts(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Four prompts of different lengths, padded on the left."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(1, TEXT_TOKENS, (4, 14), generator=generator)
    mask = torch.ones_like(ids)
    for row, padding in enumerate((0, 5, 13, 1)):
        mask[row, :padding] = 0
    return ids, mask


def assert_same_beams(
    codes: torch.Tensor, scores: torch.Tensor, tokens: torch.Tensor, expected: torch.Tensor
) -> None:
    """Scores agree place by place to 1e-4, SIDs wherever no neighbour is as near as that."""
    real = expected > -1e8  # the rest is what transformers fills up with
    assert torch.equal(scores.isfinite(), real)
    torch.testing.assert_close(scores[real], expected[real], atol=TIE, rtol=0)
    gaps = torch.nn.functional.pad(expected.diff(dim=1).abs(), (1, 1), value=torch.inf)
    clear = real & (gaps[:, :-1] > 2 * TIE) & (gaps[:, 1:] > 2 * TIE)
    assert clear.sum() > 0.8 * real.sum()
    assert torch.equal(codes[clear].long() + torch.tensor(OFFSETS), tokens[clear])


@pytest.mark.parametrize("num_beams", [1, 4, 32])
@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_beams_and_scores_equal_those_of_transformers(model_type: str, num_beams: int) -> None:
    model = random_model(
        model_type,
        VOCAB,
        seed=num_beams,
        attention_bias=model_type != "qwen2",
        tie_word_embeddings=model_type == "qwen3",
    )
    codes = np.unique(random_codes(3000, SIZES, seed=3, skew=0.7), axis=0)
    trie = osf.SidTrie.build(codes, SIZES)
    ids, mask = prompts(num_beams)
    constraint = prefix_trie(codes, OFFSETS, ids.shape[1])
    tokens, expected = generate_with_transformers(
        model, ids, mask, num_beams, len(SIZES), prefix_allowed_tokens_fn=constraint
    )
    engine = osf.Engine.from_pretrained(model, trie, dtype="float32", code_token_offsets=OFFSETS)
    out = engine.generate(ids, mask, num_beams=num_beams, normalizer="vocab")
    assert_same_beams(out.codes, out.scores, tokens, expected)
    assert trie.contains(out.codes.view(-1, len(SIZES)).numpy()).all()


def test_beams_that_transformers_fills_up_with_are_not_returned() -> None:
    """A trie of 20 SIDs and 32 beams: transformers fills up, the engine counts."""
    model = random_model("qwen3", VOCAB)
    codes = np.unique(random_codes(20, SIZES, seed=5), axis=0)
    trie = osf.SidTrie.build(codes, SIZES)
    ids, mask = prompts(7)
    constraint = prefix_trie(codes, OFFSETS, ids.shape[1])
    tokens, expected = generate_with_transformers(
        model, ids, mask, 32, len(SIZES), prefix_allowed_tokens_fn=constraint
    )
    engine = osf.Engine.from_pretrained(model, trie, dtype="float32", code_token_offsets=OFFSETS)
    out = engine.generate(ids, mask, num_beams=32, normalizer="vocab")
    assert (expected <= -1e8).any()
    assert (out.count == len(codes)).all()
    assert_same_beams(out.codes, out.scores, tokens, expected)


@pytest.mark.parametrize("num_beams", [1, 8])
def test_the_logits_processor_gives_the_beams_of_prefix_allowed_tokens(num_beams: int) -> None:
    model = random_model("llama", VOCAB, seed=2)
    codes = np.unique(random_codes(2000, SIZES, seed=4), axis=0)
    trie = osf.SidTrie.build(codes, SIZES)
    ids, mask = prompts(1)
    by_dictionary = generate_with_transformers(
        model,
        ids,
        mask,
        num_beams,
        len(SIZES),
        prefix_allowed_tokens_fn=prefix_trie(codes, OFFSETS, ids.shape[1]),
    )
    processor = TrieLogitsProcessor(trie, OFFSETS, ids.shape[1])
    by_trie = generate_with_transformers(
        model, ids, mask, num_beams, len(SIZES), logits_processor=[processor]
    )
    assert torch.equal(by_trie[0], by_dictionary[0])
    assert torch.equal(by_trie[1], by_dictionary[1])


def test_the_unconstrained_search_equals_plain_beam_search() -> None:
    model = random_model("qwen2", VOCAB, seed=6)
    trie = osf.SidTrie.build(random_codes(2000, SIZES, seed=4), SIZES)
    ids, mask = prompts(2)
    tokens, expected = generate_with_transformers(model, ids, mask, 8, len(SIZES))
    engine = osf.Engine.from_pretrained(model, trie, dtype="float32", code_token_offsets=OFFSETS)
    out = engine.generate(ids, mask, num_beams=8, constrained=False)
    torch.testing.assert_close(out.scores, expected, atol=TIE, rtol=0)
    local = tokens - torch.tensor(OFFSETS)
    inside = (local >= 0) & (local < torch.tensor(SIZES))
    assert torch.equal(out.codes.long(), torch.where(inside, local, -1))
    flat = out.codes.view(-1, len(SIZES)).numpy()
    assert torch.equal(out.rank.view(-1), torch.from_numpy(trie.rank(flat)))
