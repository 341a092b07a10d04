"""A whole search, prompt to semantic IDs, against `transformers` generate over the same trie."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import accumulate

import torch

from onesearch_fast.cli.bench import Row
from onesearch_fast.engine.engine import Engine
from onesearch_fast.index.sid_trie import SidTrie
from onesearch_fast.testing import random_codes, time_alternating
from onesearch_fast.testing.random_models import (
    ModelSize,
    generate_with_transformers,
    prefix_trie,
    random_model,
)

LEVEL_SIZES = (256, 128, 64, 64, 64)
TEXT_TOKENS = 2000
OFFSETS = tuple(accumulate(LEVEL_SIZES[:-1], initial=TEXT_TOKENS))
PROMPT = 128
TOLERANCE = 1e-4


def assert_same_scores(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    torch.testing.assert_close(ours, theirs, atol=TOLERANCE, rtol=0)


def rows() -> Iterator[Row]:
    """A float32 model of about a million parameters over 20,000 items."""
    codes = random_codes(20_000, LEVEL_SIZES, skew=0.5)
    trie = SidTrie.build(codes, LEVEL_SIZES)
    size = ModelSize(hidden_size=128, num_heads=2, head_dim=64, intermediate_size=384)
    vocab = TEXT_TOKENS + sum(LEVEL_SIZES)
    model = random_model("qwen3", vocab, spread=0.05, size=size, max_positions=256)
    engine = Engine.from_pretrained(model, trie, dtype="float32", code_token_offsets=OFFSETS)
    ids = torch.arange(PROMPT).unsqueeze(0) % TEXT_TOKENS
    allowed = prefix_trie(codes, OFFSETS, PROMPT)
    for beams in (8, 32):
        times = time_alternating(
            {
                "ours": _ours(engine, ids, beams),
                "transformers": _theirs(model, ids, beams, allowed),
            },
            assert_same_scores,
            repeats=3,
        )
        shown = f"1 x {beams} beams, prompt {PROMPT}, 5 levels"
        yield Row("search", shown, times["ours"], "transformers", times["transformers"])


def _ours(engine: Engine, ids: torch.Tensor, beams: int) -> Callable[[], torch.Tensor]:
    return lambda: engine.generate(ids, num_beams=beams, normalizer="vocab").scores


def _theirs(
    model: torch.nn.Module,
    ids: torch.Tensor,
    beams: int,
    allowed: Callable[[int, torch.Tensor], list[int]],
) -> Callable[[], torch.Tensor]:
    def run() -> torch.Tensor:
        _, scores = generate_with_transformers(
            model,
            ids,
            torch.ones_like(ids),
            beams,
            len(LEVEL_SIZES),
            prefix_allowed_tokens_fn=allowed,
        )
        return scores

    return run
