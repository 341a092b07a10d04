"""What the benchmarks of whole searches share: random models, catalogues, prompts, and rivals."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cache
from itertools import accumulate

import numpy as np
import torch

import onesearch_fast as osf
from onesearch_fast.integrations.transformers import TrieLogitsProcessor
from onesearch_fast.testing import random_codes
from onesearch_fast.testing.random_models import (
    ModelSize,
    generate_with_transformers,
    prefix_trie,
    random_model,
)

TOLERANCE = 1e-4

# Tokens [beam, level] and scores [beam] of one request.
Found = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class Setup:
    """A random model, the catalogue that it searches, and the length of its prompts."""

    model_type: str
    size: ModelSize
    level_sizes: tuple[int, ...]
    text_tokens: int
    num_items: int
    prompt: int

    @property
    def offsets(self) -> tuple[int, ...]:
        return tuple(accumulate(self.level_sizes[:-1], initial=self.text_tokens))

    @property
    def vocab_size(self) -> int:
        return self.text_tokens + sum(self.level_sizes)

    @property
    def start_tokens(self) -> tuple[int, ...]:
        """What the decoder of an encoder-decoder begins with."""
        return (2,) if self.model_type == "bart" else ()

    @property
    def first_code(self) -> int:
        """Tokens that `transformers` counts before the first code."""
        return len(self.start_tokens) or self.prompt

    def tiny(self) -> Setup:
        """The same in seconds, to test a benchmark itself."""
        return replace(
            self,
            size=ModelSize(64, 2, 2, 2, 32, 96, 512),
            level_sizes=tuple(max(8, size // 16) for size in self.level_sizes),
            text_tokens=300,
            num_items=min(self.num_items, 3000),
            prompt=min(self.prompt, 24),
        )


@cache
def model(setup: Setup) -> torch.nn.Module:
    tied = {"tie_word_embeddings": True}
    return random_model(setup.model_type, setup.vocab_size, size=setup.size, spread=0.04, **tied)


@cache
def model_in(setup: Setup, dtype: torch.dtype) -> torch.nn.Module:
    return deepcopy(model(setup)).to(dtype)


@cache
def codes(setup: Setup) -> np.ndarray:
    return np.unique(random_codes(setup.num_items, setup.level_sizes, skew=0.7), axis=0)


@cache
def trie(setup: Setup) -> osf.SidTrie:
    return osf.SidTrie.build(codes(setup), setup.level_sizes)


@cache
def dictionary(setup: Setup) -> Callable[[int, torch.Tensor], list[int]]:
    return prefix_trie(codes(setup), setup.offsets, setup.first_code)


@cache
def engine(setup: Setup, dtype: str, quantization: str | None = None) -> osf.Engine:
    return osf.Engine.from_pretrained(
        model(setup),
        trie(setup),
        dtype=dtype,
        code_token_offsets=setup.offsets,
        quantization=quantization,
    )


def prompts(setup: Setup, batch: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(3, setup.text_tokens, (batch, setup.prompt), generator=generator)


def searched(
    setup: Setup,
    dtype: str,
    num_beams: int,
    constrained: bool = True,
    normalizer: str = "vocab",
    quantization: str | None = None,
) -> Callable[[], Found]:
    """Our search, normalised over the vocabulary as its rivals are, unless said otherwise."""
    chosen, ids = engine(setup, dtype, quantization), prompts(setup)
    options = {"num_beams": num_beams, "normalizer": normalizer, "constrained": constrained}

    def run() -> Found:
        out = chosen.generate(ids, **options)
        return out.codes[0] + torch.tensor(setup.offsets), out.scores[0]

    return run


def generated(
    setup: Setup, dtype: torch.dtype, num_beams: int, by_dictionary: bool = False
) -> Callable[[], Found]:
    """`transformers` generate, constrained by our LogitsProcessor or by a dictionary."""
    ids = prompts(setup)

    def run() -> Found:
        constraint = (
            {"prefix_allowed_tokens_fn": dictionary(setup)}
            if by_dictionary
            else {
                "logits_processor": [
                    TrieLogitsProcessor(trie(setup), setup.offsets, setup.first_code)
                ]
            }
        )
        tokens, scores = generate_with_transformers(
            model_in(setup, dtype),
            ids,
            torch.ones_like(ids),
            num_beams,
            len(setup.level_sizes),
            setup.start_tokens,
            **constraint,
        )
        return tokens[0], scores[0]

    return run


def assert_same_beams(ours: Found, theirs: Found) -> None:
    """Scores agree to 1e-4 place by place, and SIDs wherever no neighbour is as near as that."""
    torch.testing.assert_close(ours[1], theirs[1], atol=TOLERANCE, rtol=0)
    gaps = torch.nn.functional.pad(-theirs[1].diff(), (1, 1), value=torch.inf)
    clear = (gaps[:-1] > 2 * TOLERANCE) & (gaps[1:] > 2 * TOLERANCE)
    assert torch.equal(ours[0][clear].long(), theirs[0][clear].long())


def assert_near(ours: Found, theirs: Found) -> None:
    """What searches in fewer bits, or in other ones, still share: most beams, scores within 2 %."""
    first, second = ({tuple(beam) for beam in found[0].tolist()} for found in (ours, theirs))
    assert len(first & second) > 0.5 * len(first)
    torch.testing.assert_close(ours[1], theirs[1], atol=0, rtol=0.02)
