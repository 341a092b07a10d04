"""Whole searches on a GPU against those on the CPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import onesearch_fast as osf
from onesearch_fast.testing import random_codes
from onesearch_fast.testing.random_models import random_model

SIZES = (12, 10, 9, 8)
OFFSETS = (50, 62, 72, 81)
PROMPTS = [[5, 9, 1, 30, 2, 2], [7], [49, 0, 3, 11, 12]]


def engines(model_type: str, trie: osf.SidTrie | osf.LiveStore) -> list[osf.Engine]:
    """The same model on the CPU and on the GPU."""
    model = random_model(model_type, 95)
    return [
        osf.Engine.from_pretrained(
            model, trie, device=device, dtype="float32", code_token_offsets=OFFSETS
        )
        for device in ("cpu", "cuda")
    ]


@pytest.fixture(autouse=True)
def exact_products(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)


@pytest.mark.parametrize("normalizer", ["level", "vocab", "children"])
@pytest.mark.parametrize("model_type", ["llama", "qwen3", "gpt2", "bart"])
def test_a_search_finds_the_same(model_type: str, normalizer: str) -> None:
    trie = osf.SidTrie.build(random_codes(400, SIZES, seed=6, skew=0.9), SIZES)
    cpu, gpu = engines(model_type, trie)
    want = cpu.generate(PROMPTS, num_beams=40, normalizer=normalizer)
    got = gpu.generate(PROMPTS, num_beams=40, normalizer=normalizer)
    assert got.scores.is_cuda
    assert torch.equal(got.codes.cpu(), want.codes)
    assert torch.equal(got.count.cpu(), want.count)
    torch.testing.assert_close(got.scores.cpu(), want.scores, atol=1e-3, rtol=0)


def test_a_live_store_is_searched_as_it_changes(tmp_path: Path) -> None:
    with osf.LiveStore.create(tmp_path / "store", random_codes(400, SIZES), SIZES) as store:
        cpu, gpu = engines("qwen3", store)
        for first in (0, 100, 200):
            store.delete(np.arange(first, first + 50))
            want, got = (one.generate(PROMPTS, num_beams=30) for one in (cpu, gpu))
            assert torch.equal(got.codes.cpu(), want.codes)


def test_repeats_give_the_same_bits() -> None:
    trie = osf.SidTrie.build(random_codes(400, SIZES), SIZES)
    _, gpu = engines("qwen3", trie)
    first, again = (gpu.generate(PROMPTS, num_beams=30) for _ in range(2))
    assert torch.equal(first.scores, again.scores)
    assert torch.equal(first.codes, again.codes)
