"""One request to an encoder-decoder of BART-base's size, as a product search serves it.

0.14B random parameters, prompt of 128 tokens, 512 beams, five levels of 4096, 1024, 512, 256 and
256 codes, a million items. Scores are normalised over a level, as they are by default; over the
vocabulary of 56,393, whose logits cost nearly as much again as the model, the beams must first be
those of `transformers` in float32.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from engine_setup import Setup, assert_near, assert_same_beams, generated, searched

from onesearch_fast.testing.random_models import BART_BASE

BART = Setup("bart", BART_BASE, (4096, 1024, 512, 256, 256), 50265, 1_000_000, 128)


def test_one_request(race: Callable[..., None], tiny: bool) -> None:
    setup, num_beams = (BART.tiny(), 32) if tiny else (BART, 512)
    exact = searched(setup, "float32", num_beams)
    assert_same_beams(exact(), generated(setup, torch.float32, num_beams)())
    rivals = {
        "engine, bfloat16": searched(setup, "bfloat16", num_beams, normalizer="level"),
        "engine, float32": searched(setup, "float32", num_beams, normalizer="level"),
    }
    race(rivals, assert_near, repeats=5)


def test_one_request_over_the_vocabulary(race: Callable[..., None], tiny: bool) -> None:
    setup, num_beams = (BART.tiny(), 32) if tiny else (BART, 512)
    rivals = {
        "engine, bfloat16": searched(setup, "bfloat16", num_beams),
        "engine, float32": searched(setup, "float32", num_beams),
    }
    race(rivals, assert_near, repeats=5)
