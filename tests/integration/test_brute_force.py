"""The beam search finds what scoring every item of a catalogue finds."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import onesearch_fast as osf
from onesearch_fast.testing import random_codes
from onesearch_fast.testing.random_models import random_model

SIZES = (32, 24, 16, 16)
OFFSETS = (40, 72, 96, 112)
NUM_ITEMS = 2000
NORMALIZERS = ("level", "children", "none", "vocab")


def catalogue() -> tuple[osf.SidTrie, np.ndarray]:
    codes = random_codes(NUM_ITEMS, SIZES, seed=1, skew=0.8)
    return osf.SidTrie.build(codes, SIZES), codes


def make_engine(trie: osf.SidTrie, model_type: str = "qwen3") -> osf.Engine:
    model = random_model(model_type, 128, seed=9, tie_word_embeddings=True)
    return osf.Engine.from_pretrained(model, trie, dtype="float32", code_token_offsets=OFFSETS)


@pytest.mark.parametrize("model_type", ["qwen3", "gpt2", "bart"])
@pytest.mark.parametrize("normalizer", NORMALIZERS)
def test_a_full_beam_equals_brute_force_over_all_items(model_type: str, normalizer: str) -> None:
    trie, codes = catalogue()
    engine = make_engine(trie, model_type)
    prompts = [[3, 9, 27], [5, 25, 12, 6, 1, 1, 38]]
    out = engine.generate(prompts, num_beams=trie.num_sids, normalizer=normalizer)
    by_item = torch.from_numpy(codes).expand(len(prompts), -1, -1)
    item_scores = engine.score(prompts, by_item, normalizer=normalizer)
    assert (out.count == trie.num_sids).all()
    rank = torch.from_numpy(trie.rank(codes))
    for request in range(len(prompts)):
        found = torch.full((trie.num_sids,), torch.nan)
        found[out.rank[request]] = out.scores[request]
        torch.testing.assert_close(found[rank], item_scores[request], atol=1e-4, rtol=0)
        best = item_scores[request].sort(descending=True).values[:1]
        torch.testing.assert_close(out.scores[request, :1], best, atol=1e-4, rtol=0)


def test_filtered_scores_equal_brute_force_filtered_afterwards() -> None:
    trie, codes = catalogue()
    engine = make_engine(trie)
    allowed = np.arange(NUM_ITEMS) % 7 == 0
    prompt = [[8, 4, 2, 1]]
    out = engine.generate(prompt, num_beams=trie.num_sids, filter=trie.filter(allow=allowed))
    kept = np.unique(codes[allowed], axis=0)
    scores = engine.score(prompt, torch.from_numpy(kept)[None])[0]
    assert int(out.count[0]) == len(kept)
    expected = scores.sort(descending=True).values
    torch.testing.assert_close(out.scores[0, : len(kept)], expected, atol=1e-4, rtol=0)
    ids, count = out.item_ids(NUM_ITEMS)
    assert int(count[0]) == allowed.sum()
    assert set(ids[0, : int(count[0])].tolist()) == set(np.flatnonzero(allowed).tolist())


@pytest.mark.parametrize("model_type", ["qwen3", "gpt2", "bart"])
def test_scores_equal_a_plain_forward_pass(model_type: str) -> None:
    """Teacher-forced scores against the logits of transformers, one SID at a time."""
    trie, codes = catalogue()
    model = random_model(model_type, 128, seed=9, tie_word_embeddings=True)
    prompt = torch.tensor([3, 9, 27])
    chosen = torch.from_numpy(codes[:20]).long()
    scores = make_engine(trie, model_type).score(prompt[None], chosen[None], normalizer="level")[0]
    for sid, score in zip(chosen, scores, strict=True):
        tokens = sid + torch.tensor(OFFSETS)
        with torch.no_grad():
            logits = logits_before(model, prompt, tokens)
        expected = sum(
            logits[level, begin : begin + size].log_softmax(-1)[sid[level]]
            for level, (begin, size) in enumerate(zip(OFFSETS, SIZES, strict=True))
        )
        torch.testing.assert_close(score, expected, atol=1e-4, rtol=0)


def logits_before(
    model: torch.nn.Module, prompt: torch.Tensor, tokens: torch.Tensor
) -> torch.Tensor:
    """Logits from which each of `tokens` is decided, [token, vocab]."""
    if model.config.is_encoder_decoder:
        read = torch.cat((torch.tensor([2]), tokens[:-1]))
        return model(input_ids=prompt[None], decoder_input_ids=read[None]).logits[0]
    return model(input_ids=torch.cat((prompt, tokens[:-1]))[None]).logits[0, len(prompt) - 1 :]
