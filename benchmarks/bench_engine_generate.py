"""End to end: prompts to semantic IDs, against `transformers` generate over the same trie.

A random Qwen3-type model of 29M parameters, prompts of 256 tokens, a million items, 5 levels. Both
sides normalise over the vocabulary. In float32 their beams and scores must be equal before anything
is timed; in bfloat16, which every library rounds in its own places, most beams must be shared and
scores be near. `transformers` is constrained once as its users do it (prefix_allowed_tokens_fn over
a dictionary) and once by our LogitsProcessor, so that the price of the dictionary and the price of
running the prompt for every beam show apart.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from engine_setup import Setup, assert_near, assert_same_beams, generated, searched

from onesearch_fast.testing.random_models import QWEN3_29M

QWEN3 = Setup("qwen3", QWEN3_29M, (1024, 512, 512, 256, 256), 7680, 1_000_000, 256)


@pytest.mark.parametrize("num_beams", [16, 64, 256])
def test_generate_against_transformers(
    race: Callable[..., None], tiny: bool, num_beams: int
) -> None:
    setup = QWEN3.tiny() if tiny else QWEN3
    ours, theirs = searched(setup, "float32", num_beams), generated(setup, torch.float32, num_beams)
    assert_same_beams(ours(), theirs())
    rivals = {
        "engine, bfloat16": searched(setup, "bfloat16", num_beams),
        "engine, float32": ours,
        "transformers, bfloat16, our logits processor": generated(setup, torch.bfloat16, num_beams),
        "transformers, float32, our logits processor": theirs,
        "transformers, bfloat16, prefix_allowed_tokens_fn": generated(
            setup, torch.bfloat16, num_beams, by_dictionary=True
        ),
    }
    race(rivals, assert_near, repeats=3, turn_seconds=0.5)
