"""The logits processor by itself; with `generate` it is tested in tests/integration."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import onesearch_fast as osf
from onesearch_fast.integrations.transformers import TrieLogitsProcessor
from onesearch_fast.testing import random_codes

SIZES = (5, 4, 6)
OFFSETS = (10, 15, 19)
VOCAB = 30
CODES = np.unique(random_codes(40, SIZES, seed=8), axis=0)
TRIE = osf.SidTrie.build(CODES, SIZES)
PROMPT = [[3, 1, 2], [9, 9, 9]]


def allowed(path: list[int], codes: np.ndarray = CODES) -> set[int]:
    below = codes[(codes[:, : len(path)] == path).all(axis=1), len(path)]
    return {int(code) + OFFSETS[len(path)] for code in below}


def finite(processor: TrieLogitsProcessor, ids: list[list[int]]) -> list[set[int]]:
    scores = torch.randn(len(ids), VOCAB)
    got = processor(torch.tensor(ids), scores)
    kept = got.isfinite()
    assert torch.equal(got[kept], scores[kept])
    return [set(row.nonzero().flatten().tolist()) for row in kept]


def test_tokens_that_lead_to_an_item_keep_their_scores() -> None:
    processor = TrieLogitsProcessor(TRIE, OFFSETS, prompt_length=3)
    assert finite(processor, PROMPT) == [allowed([])] * 2
    first, second = CODES[4].tolist(), CODES[20].tolist()
    ids = [[*PROMPT[0], first[0] + 10, first[1] + 15], [*PROMPT[1], second[0] + 10, second[1] + 15]]
    assert finite(processor, ids) == [allowed(first[:2]), allowed(second[:2])]


def test_a_beam_that_left_the_trie_has_nothing_left() -> None:
    processor = TrieLogitsProcessor(TRIE, OFFSETS, prompt_length=3)
    outside = [*PROMPT[0], 2]  # a text token where a code should be
    inside = [*PROMPT[1], int(CODES[0, 0]) + 10]
    assert finite(processor, [outside, inside]) == [set(), allowed(CODES[0, :1].tolist())]


def test_a_filter_narrows_it() -> None:
    kept = [2, 5, 6]
    processor = TrieLogitsProcessor(TRIE, OFFSETS, 3, filter=TRIE.filter(allow=kept))
    assert finite(processor, PROMPT) == [allowed([], CODES[kept])] * 2


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="code_token_offsets"):
        TrieLogitsProcessor(TRIE, (10, 15), 3)
    other = osf.SidTrie.build(CODES, SIZES)
    with pytest.raises(ValueError, match="filter"):
        TrieLogitsProcessor(TRIE, OFFSETS, 3, filter=other.filter(allow=[1]))
    with pytest.raises(ValueError, match="prompt_length"):
        TrieLogitsProcessor(TRIE, OFFSETS, -1)
    for offsets in ((26, 15, 19), (-2, 15, 19)):
        with pytest.raises(ValueError, match="level 0's codes within the vocabulary of 30"):
            TrieLogitsProcessor(TRIE, offsets, 3)(torch.tensor(PROMPT), torch.zeros(2, VOCAB))
    processor = TrieLogitsProcessor(TRIE, OFFSETS, 3)
    for length in (2, 6):
        with pytest.raises(ValueError, match="max_new_tokens"):
            processor(torch.ones(1, length, dtype=torch.int64), torch.zeros(1, VOCAB))
