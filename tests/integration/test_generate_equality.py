"""The engine finds the beams of `transformers` generate with a prefix trie, with its scores."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import onesearch_fast as osf
from onesearch_fast.integrations.transformers import TrieLogitsProcessor
from onesearch_fast.testing import random_codes
from onesearch_fast.testing.random_models import (
    generate_with_transformers,
    prefix_trie,
    random_model,
)

SIZES = (16, 12, 9, 14, 8)
OFFSETS = (60, 76, 88, 97, 111)
VOCAB = 125
TEXT_TOKENS = 60
TIE = 1e-4


def prompts(seed: int, model: torch.nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
    """Four prompts of different lengths, padded on the side where transformers expects it.

    An encoder of transformers counts positions from the padding on, so its padding stands right.
    """
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(1, TEXT_TOKENS, (4, 14), generator=generator)
    mask = torch.ones_like(ids)
    for row, padding in enumerate((0, 5, 13, 1)):
        mask[row, :padding] = 0
    if model.config.is_encoder_decoder:
        return ids.flip(1), mask.flip(1)
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


# Every option of an architecture that changes what it computes is set in one of these.
MODELS = [
    ("qwen3", {"attention_bias": True, "tie_word_embeddings": True}),
    ("qwen2", {"tie_word_embeddings": False}),
    ("llama", {"attention_bias": True, "mlp_bias": True}),
    ("gpt2", {"activation_function": "gelu_new"}),
    ("gpt2", {"activation_function": "quick_gelu", "tie_word_embeddings": False}),
    ("bart", {"activation_function": "gelu"}),
    ("bart", {"activation_function": "relu", "scale_embedding": True, "decoder_layers": 2}),
    ("bart", {"decoder_prefix_ids": [2, 0, 7], "decoder_attention_heads": 3}),
    ("mbart", {"scale_embedding": True}),
]


def start(model: torch.nn.Module) -> tuple[int, ...]:
    """What an encoder-decoder's decoder begins with."""
    if not model.config.is_encoder_decoder:
        return ()
    return tuple(getattr(model.config, "decoder_prefix_ids", (2,)))


def search_with_transformers(
    model: torch.nn.Module, codes: np.ndarray, seed: int, num_beams: int
) -> tuple[torch.Tensor, torch.Tensor]:
    ids, mask = prompts(seed, model)
    prefix = start(model)
    constraint = prefix_trie(codes, OFFSETS, len(prefix) or ids.shape[1])
    return generate_with_transformers(
        model, ids, mask, num_beams, len(SIZES), prefix, prefix_allowed_tokens_fn=constraint
    )


@pytest.mark.parametrize("num_beams", [1, 4, 32])
@pytest.mark.parametrize(("model_type", "config"), MODELS)
def test_beams_and_scores_equal_those_of_transformers(
    model_type: str, config: dict[str, Any], num_beams: int
) -> None:
    model = random_model(model_type, VOCAB, seed=num_beams, **config)
    codes = np.unique(random_codes(3000, SIZES, seed=3, skew=0.7), axis=0)
    trie = osf.SidTrie.build(codes, SIZES)
    tokens, expected = search_with_transformers(model, codes, num_beams, num_beams)
    engine = osf.Engine.from_pretrained(model, trie, dtype="float32", code_token_offsets=OFFSETS)
    out = engine.generate(*prompts(num_beams, model), num_beams=num_beams, normalizer="vocab")
    assert_same_beams(out.codes, out.scores, tokens, expected)
    assert trie.contains(out.codes.view(-1, len(SIZES)).numpy()).all()


def test_what_bart_forces_by_default_is_read_once_and_changes_no_score() -> None:
    """transformers spends a step each on the first token it forces and on the end; we do not."""
    model = random_model("bart", VOCAB, seed=3, eos_token_id=2)
    model.generation_config.update(
        forced_bos_token_id=0, forced_eos_token_id=2, no_repeat_ngram_size=3, early_stopping=True
    )
    codes = np.unique(random_codes(3000, SIZES, seed=3, skew=0.7), axis=0)
    by_code = prefix_trie(codes, OFFSETS, 2)

    def allowed(batch: int, ids: torch.Tensor) -> list[int]:
        return by_code(batch, ids) if len(ids) < 2 + len(SIZES) else [2]

    ids, mask = prompts(2, model)
    made = model.generate(
        input_ids=ids,
        attention_mask=mask,
        num_beams=16,
        num_return_sequences=16,
        length_penalty=0.0,
        max_new_tokens=1 + len(SIZES) + 1,
        prefix_allowed_tokens_fn=allowed,
        return_dict_in_generate=True,
        output_scores=True,
    )
    assert (made.sequences[:, :2] == torch.tensor([2, 0])).all()
    trie = osf.SidTrie.build(codes, SIZES)
    engine = osf.Engine.from_pretrained(model, trie, dtype="float32", code_token_offsets=OFFSETS)
    out = engine.generate(ids, mask, num_beams=16, normalizer="vocab")
    assert_same_beams(
        out.codes,
        out.scores,
        made.sequences[:, 2:-1].view(out.codes.shape),
        made.sequences_scores.view(out.scores.shape),
    )


def ranked_overlap(first: torch.Tensor, second: torch.Tensor) -> float:
    """Mean over depths d of how much of the first d SIDs both lists share."""
    a, b = ([tuple(sid) for sid in sids.tolist()] for sids in (first, second))
    depths = range(1, len(a) + 1)
    return sum(len(set(a[:d]) & set(b[:d])) / d for d in depths) / len(a)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("model_type", "config"), MODELS)
def test_half_precision_ranks_as_that_of_transformers_does(
    model_type: str, config: dict[str, Any], dtype: torch.dtype
) -> None:
    """Neither is right; ours must be as near to float32 as theirs, in order and in scores."""
    model = random_model(model_type, VOCAB, seed=5, spread=0.12, **config)
    codes = np.unique(random_codes(3000, SIZES, seed=3, skew=0.7), axis=0)
    trie = osf.SidTrie.build(codes, SIZES)
    exact, _ = search_with_transformers(model, codes, 5, 24)
    reference = osf.Engine.from_pretrained(model, trie, dtype="float32", code_token_offsets=OFFSETS)
    theirs, their_scores = search_with_transformers(model.to(dtype), codes, 5, 24)
    engine = osf.Engine.from_pretrained(model, trie, dtype=dtype, code_token_offsets=OFFSETS)
    ids, mask = prompts(5, model)
    ours = engine.generate(ids, mask, num_beams=24, normalizer="vocab")
    offsets = torch.tensor(OFFSETS)
    overlap = [
        (ranked_overlap(own + offsets, true), ranked_overlap(their, true))
        for own, their, true in zip(ours.codes, theirs, exact, strict=True)
    ]
    own, their = np.mean(overlap, axis=0)
    assert own > 0.6 and own > their - 0.1
    errors = [
        (scores - reference.score(ids, sids, "vocab", mask)).abs().mean()
        for scores, sids in ((ours.scores, ours.codes), (their_scores, theirs - offsets))
    ]
    assert errors[0] < 1.5 * errors[1] + 1e-3


def test_beams_that_transformers_fills_up_with_are_not_returned() -> None:
    """A trie of 20 SIDs and 32 beams: transformers fills up, the engine counts."""
    model = random_model("qwen3", VOCAB)
    codes = np.unique(random_codes(20, SIZES, seed=5), axis=0)
    trie = osf.SidTrie.build(codes, SIZES)
    tokens, expected = search_with_transformers(model, codes, 7, 32)
    engine = osf.Engine.from_pretrained(model, trie, dtype="float32", code_token_offsets=OFFSETS)
    out = engine.generate(*prompts(7, model), num_beams=32, normalizer="vocab")
    assert (expected <= -1e8).any()
    assert (out.count == len(codes)).all()
    assert_same_beams(out.codes, out.scores, tokens, expected)


@pytest.mark.parametrize("model_type", ["llama", "bart"])
@pytest.mark.parametrize("num_beams", [1, 8])
def test_the_logits_processor_gives_the_beams_of_prefix_allowed_tokens(
    model_type: str, num_beams: int
) -> None:
    model = random_model(model_type, VOCAB, seed=2)
    codes = np.unique(random_codes(2000, SIZES, seed=4), axis=0)
    trie = osf.SidTrie.build(codes, SIZES)
    by_dictionary = search_with_transformers(model, codes, 1, num_beams)
    ids, mask = prompts(1, model)
    prefix = start(model)
    processor = TrieLogitsProcessor(trie, OFFSETS, len(prefix) or ids.shape[1])
    by_trie = generate_with_transformers(
        model, ids, mask, num_beams, len(SIZES), prefix, logits_processor=[processor]
    )
    assert torch.equal(by_trie[0], by_dictionary[0])
    assert torch.equal(by_trie[1], by_dictionary[1])


@pytest.mark.parametrize("model_type", ["qwen2", "gpt2", "bart"])
def test_the_unconstrained_search_equals_plain_beam_search(model_type: str) -> None:
    model = random_model(model_type, VOCAB, seed=6)
    trie = osf.SidTrie.build(random_codes(2000, SIZES, seed=4), SIZES)
    ids, mask = prompts(2, model)
    tokens, expected = generate_with_transformers(model, ids, mask, 8, len(SIZES), start(model))
    engine = osf.Engine.from_pretrained(model, trie, dtype="float32", code_token_offsets=OFFSETS)
    out = engine.generate(ids, mask, num_beams=8, constrained=False)
    torch.testing.assert_close(out.scores, expected, atol=TIE, rtol=0)
    local = tokens - torch.tensor(OFFSETS)
    inside = (local >= 0) & (local < torch.tensor(SIZES))
    assert torch.equal(out.codes.long(), torch.where(inside, local, -1))
    flat = out.codes.view(-1, len(SIZES)).numpy()
    assert torch.equal(out.rank.view(-1), torch.from_numpy(trie.rank(flat)))
