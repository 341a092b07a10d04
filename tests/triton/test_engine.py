"""Whole searches by the Triton kernels, in the interpreter, against those by the CPU's."""

from __future__ import annotations

import pytest
import torch

import onesearch_fast as osf
from onesearch_fast.registry import use_backend
from onesearch_fast.testing import random_codes
from onesearch_fast.testing.random_models import random_model

triton = pytest.importorskip("triton", reason="triton is missing: `make triton` installs it")
pytestmark = pytest.mark.skipif(
    not triton.knobs.runtime.interpret, reason="needs TRITON_INTERPRET=1: `make triton`"
)

SIZES = (12, 10, 9, 8)
PROMPTS = [[5, 9, 1, 30, 2, 2], [7]]


@pytest.mark.parametrize(
    ("model_type", "normalizer"), [("qwen3", "level"), ("gpt2", "vocab"), ("bart", "children")]
)
def test_a_search_by_triton_kernels_finds_the_same(model_type: str, normalizer: str) -> None:
    trie = osf.SidTrie.build(random_codes(400, SIZES, seed=6, skew=0.9), SIZES)
    engine = osf.Engine.from_pretrained(
        random_model(model_type, 95),
        trie,
        dtype="float32",
        code_token_offsets=(50, 62, 72, 81),
    )
    want = engine.generate(PROMPTS, num_beams=6, normalizer=normalizer)
    with use_backend("triton"):
        got = engine.generate(PROMPTS, num_beams=6, normalizer=normalizer)
    assert torch.equal(got.codes, want.codes)
    assert torch.equal(got.rank, want.rank)
    torch.testing.assert_close(got.scores, want.scores, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    "options",
    [
        osf.SearchOptions(max_children_per_parent=2, sibling_penalty=0.5),
        osf.SearchOptions(seed=7, max_children_per_parent=3),
    ],
    ids=["diverse", "stochastic"],
)
def test_options_find_the_same(options: osf.SearchOptions) -> None:
    engine = qwen3()
    want = engine.generate(PROMPTS, num_beams=6, options=options)
    with use_backend("triton"):
        got = engine.generate(PROMPTS, num_beams=6, options=options)
    assert torch.equal(got.codes, want.codes)
    torch.testing.assert_close(got.scores, want.scores, atol=1e-4, rtol=0)


def test_equal_seeds_draw_equal_samples() -> None:
    engine = qwen3()
    want = engine.sample(PROMPTS, 5, seed=3)
    with use_backend("triton"):
        got = engine.sample(PROMPTS, 5, seed=3)
    assert torch.equal(got.codes, want.codes)
    torch.testing.assert_close(got.log_probs, want.log_probs, atol=1e-4, rtol=0)


def qwen3() -> osf.Engine:
    trie = osf.SidTrie.build(random_codes(400, SIZES, seed=6, skew=0.9), SIZES)
    return osf.Engine.from_pretrained(
        random_model("qwen3", 95), trie, dtype="float32", code_token_offsets=(50, 62, 72, 81)
    )
