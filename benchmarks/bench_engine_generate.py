"""End to end: prompts to semantic IDs, against `transformers` generate over the same trie.

A random Qwen3-type model of 29M parameters, prompts of 256 tokens, 100,000 items, 5 levels. Both
sides run in float32 and normalise over the vocabulary, and their beams and scores are compared
before anything is timed. `transformers` is constrained once as its users do it
(prefix_allowed_tokens_fn over a dictionary) and once by our LogitsProcessor, so that the price of
the dictionary and the price of running the prompt for every beam show apart.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import accumulate

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

NUM_ITEMS = 100_000
LEVEL_SIZES = (1024, 512, 512, 256, 256)
TEXT_TOKENS = 7680
OFFSETS = tuple(accumulate(LEVEL_SIZES[:-1], initial=TEXT_TOKENS))
VOCAB = TEXT_TOKENS + sum(LEVEL_SIZES)
PROMPT = 256
TOLERANCE = 1e-4

# Tokens [beam, level] and scores [beam] of one request.
Found = tuple[torch.Tensor, torch.Tensor]


@cache
def model() -> torch.nn.Module:
    return random_model(
        "qwen3",
        VOCAB,
        hidden_size=512,
        num_layers=8,
        num_heads=8,
        num_kv_heads=4,
        head_dim=64,
        intermediate_size=1408,
        max_positions=512,
        spread=0.04,
        tie_word_embeddings=True,
    )


@cache
def codes() -> np.ndarray:
    return np.unique(random_codes(NUM_ITEMS, LEVEL_SIZES, skew=0.7), axis=0)


@cache
def trie() -> osf.SidTrie:
    return osf.SidTrie.build(codes(), LEVEL_SIZES)


@cache
def engine(dtype: str) -> osf.Engine:
    return osf.Engine.from_pretrained(model(), trie(), dtype=dtype, code_token_offsets=OFFSETS)


@cache
def dictionary() -> Callable[[int, torch.Tensor], list[int]]:
    return prefix_trie(codes(), OFFSETS, PROMPT)


def prompt() -> torch.Tensor:
    return torch.randint(0, TEXT_TOKENS, (1, PROMPT), generator=torch.Generator().manual_seed(0))


def ours(dtype: str, num_beams: int) -> Callable[[], Found]:
    chosen, ids = engine(dtype), prompt()

    def run() -> Found:
        out = chosen.generate(ids, num_beams=num_beams, normalizer="vocab")
        return out.codes[0] + torch.tensor(OFFSETS), out.scores[0]

    return run


def theirs(num_beams: int, by_dictionary: bool) -> Callable[[], Found]:
    ids = prompt()
    constraint = (
        {"prefix_allowed_tokens_fn": dictionary()}
        if by_dictionary
        else {"logits_processor": [TrieLogitsProcessor(trie(), OFFSETS, PROMPT)]}
    )

    def run() -> Found:
        tokens, scores = generate_with_transformers(
            model(), ids, torch.ones_like(ids), num_beams, len(LEVEL_SIZES), **constraint
        )
        return tokens[0], scores[0]

    return run


def assert_same_beams(ours: Found, theirs: Found) -> None:
    """Scores agree to 1e-4 place by place, and SIDs wherever no neighbour is as near as that."""
    torch.testing.assert_close(ours[1], theirs[1], atol=TOLERANCE, rtol=0)
    gaps = torch.nn.functional.pad(-theirs[1].diff(), (1, 1), value=torch.inf)
    clear = (gaps[:-1] > 2 * TOLERANCE) & (gaps[1:] > 2 * TOLERANCE)
    assert torch.equal(ours[0][clear].long(), theirs[0][clear])


@pytest.mark.parametrize("num_beams", [16, 64, 256])
def test_generate_against_transformers(race: Callable[..., None], num_beams: int) -> None:
    rivals = {
        "engine, float32": ours("float32", num_beams),
        "transformers, our logits processor": theirs(num_beams, by_dictionary=False),
        "transformers, prefix_allowed_tokens_fn": theirs(num_beams, by_dictionary=True),
    }
    race(rivals, assert_same_beams, repeats=3)


@pytest.mark.parametrize("num_beams", [16, 64, 256])
def test_bfloat16_against_float32(race: Callable[..., None], num_beams: int) -> None:
    """Apart, since beams in bfloat16 are not those of float32; only the best score is compared."""

    def assert_near(first: Found, second: Found) -> None:
        torch.testing.assert_close(first[1][0], second[1][0], atol=0, rtol=0.02)

    rivals = {
        "engine, bfloat16": ours("bfloat16", num_beams),
        "engine, float32": ours("float32", num_beams),
    }
    race(rivals, assert_near)
