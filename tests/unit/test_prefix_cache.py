"""What was read before is not read again, and nothing else changes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from unittest.mock import MagicMock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import onesearch_fast as osf
from onesearch_fast.engine.prefix_cache import Block, PrefixCache, block_keys
from onesearch_fast.engine.prompt_reader import BLOCK_TOKENS
from onesearch_fast.engine.result import GenerateResult
from onesearch_fast.testing import random_codes
from onesearch_fast.testing.random_models import random_model

SIZES = (12, 10, 9, 8)
OFFSETS = (50, 62, 72, 81)
VOCAB = 95
TRIE = osf.SidTrie.build(random_codes(400, SIZES, seed=6, skew=0.9), SIZES)
HEAD = [(7 * i + i * i) % 50 for i in range(3 * BLOCK_TOKENS)]
PROMPTS = [
    HEAD[:80],
    [*HEAD[:70], 1, 2, 3],
    HEAD,
    HEAD[:64],
    HEAD[:65],
    HEAD[:31],
    [4, *HEAD[:90]],
    [9],
    HEAD[:80],
]


def make_engine(seed: int = 0, model_type: str = "qwen3", **options: Any) -> osf.Engine:
    arguments = {"dtype": "float32", "code_token_offsets": OFFSETS, **options}
    return osf.Engine.from_pretrained(random_model(model_type, VOCAB, seed=seed), TRIE, **arguments)


def assert_same(got: GenerateResult, expected: GenerateResult) -> None:
    torch.testing.assert_close(got.scores, expected.scores, atol=1e-4, rtol=0)
    assert torch.equal(got.rank, expected.rank)


def known_before(prompt: list[int], earlier: list[list[int]]) -> int:
    """Tokens of whole blocks that an earlier prompt begins with, the last token never."""
    most = 0
    for other in earlier:
        common = next(
            (i for i, (a, b) in enumerate(zip(prompt, other, strict=False)) if a != b),
            min(len(prompt), len(other)),
        )
        most = max(most, min(common, len(prompt) - 1) // BLOCK_TOKENS * BLOCK_TOKENS)
    return most


# The store


def block(number: int, floats: int = 1) -> Block:
    return Block(torch.full((floats,), float(number)), torch.zeros(floats))


SIZE = block(0).nbytes


def test_a_chain_is_found_as_far_as_it_is_held() -> None:
    cache = PrefixCache(10 * SIZE)
    keys = block_keys(b"tokens", [b"a", b"b", b"c"])
    cache.add(keys, [block(0), block(1), block(2)])
    other = block_keys(b"tokens", [b"a", b"b", b"d"])
    assert [float(one.keys) for one in cache.find(other)] == [0.0, 1.0]
    assert cache.find(block_keys(b"embeddings", [b"a", b"b"])) == []
    assert cache.find(block_keys(b"tokens", [b"b"])) == []
    assert (cache.stats().hits, cache.stats().misses) == (2, 4)


def test_beginnings_outlive_what_follows_them() -> None:
    cache = PrefixCache(4 * SIZE)
    keys = block_keys(b"", [b"0", b"1", b"2"])
    cache.add(keys, [block(number) for number in range(3)])
    for number, left in enumerate((3, 2, 1)):
        cache.add(block_keys(b"", [bytes([number])]), [block(9)])
        assert cache.stats().evictions == 3 - left and cache.stats().blocks == 4
    assert len(cache.find(keys)) == 1


def test_a_block_that_cannot_fit_is_not_kept() -> None:
    cache = PrefixCache(SIZE)
    keys = block_keys(b"", [b"large"])
    cache.add(keys, [block(0, floats=1000)])
    assert cache.find(keys) == [] and cache.stats().nbytes == 0


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=5), max_size=20), st.integers(1, 8)
)
def test_the_cache_never_exceeds_its_bytes_nor_lies(paths: list[list[int]], room: int) -> None:
    cache = PrefixCache(room * SIZE)
    for path in paths:
        keys = block_keys(b"", [bytes(path[: i + 1]) for i in range(len(path))])
        found = cache.find(keys)
        assert [float(one.keys) for one in found] == path[: len(found)]
        cache.add(keys, [block(number) for number in path[len(found) :]])
        stats = cache.stats()
        assert stats.nbytes == stats.blocks * SIZE <= room * SIZE
        assert len(cache.find(keys)) == min(len(path), room)


def test_a_stream_waits_for_a_block_and_keeps_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = MagicMock()
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: stream)
    keys, values, written = MagicMock(), MagicMock(), MagicMock()
    Block(keys, values, written).use()
    stream.wait_event.assert_called_once_with(written)
    for part in (keys, values):
        part.record_stream.assert_called_once_with(stream)
    assert Block.copy(torch.zeros(2), torch.zeros(2)).written is None


# In the engine


def test_what_begins_alike_is_read_once() -> None:
    engine, plain = make_engine(prefix_cache_bytes=1 << 24), make_engine()
    assert plain.prefix_cache is None
    for number, prompt in enumerate(PROMPTS):
        got = engine.generate([prompt], num_beams=32)
        assert got.stats.cached_tokens == (known_before(prompt, PROMPTS[:number]),)
        assert_same(got, plain.generate([prompt], num_beams=32))


def test_a_batch_takes_what_is_known_of_each_request() -> None:
    engine, plain = make_engine(prefix_cache_bytes=1 << 24), make_engine()
    engine.generate([HEAD[:40]], num_beams=4)
    engine.generate([[4, *HEAD[:90]]], num_beams=4)
    for _ in range(2):
        got = engine.generate(PROMPTS, num_beams=32)
        assert_same(got, plain.generate(PROMPTS, num_beams=32))
        assert got.stats.prompt_tokens == tuple(map(len, PROMPTS))
    assert got.stats.cached_tokens == tuple(known_before(one, PROMPTS) for one in PROMPTS)
    codes = got.codes
    torch.testing.assert_close(
        engine.score(PROMPTS, codes), plain.score(PROMPTS, codes), atol=1e-4, rtol=0
    )
    unconstrained = engine.generate(PROMPTS, num_beams=4, constrained=False)
    assert unconstrained.stats.cached_tokens == got.stats.cached_tokens


def test_an_encoder_reads_a_whole_prompt_once() -> None:
    engine = make_engine(model_type="bart", prefix_cache_bytes=1 << 24)
    plain = make_engine(model_type="bart")
    assert engine.generate(PROMPTS[:3], num_beams=8).stats.cached_tokens == (0, 0, 0)
    got = engine.generate(PROMPTS, num_beams=32)
    assert_same(got, plain.generate(PROMPTS, num_beams=32))
    known = [len(one) if one in PROMPTS[:3] else 0 for one in PROMPTS]
    assert got.stats.cached_tokens == tuple(known)


@pytest.mark.parametrize(
    ("model_type", "dtype"),
    [("qwen3", "float32"), ("qwen3", "bfloat16"), ("gpt2", "float32"), ("bart", "bfloat16")],
)
def test_a_deterministic_engine_has_the_same_bits_with_and_without(
    model_type: str, dtype: str
) -> None:
    plain = make_engine(model_type=model_type, dtype=dtype, deterministic=True)
    expected = plain.generate(PROMPTS, num_beams=32)
    engine = make_engine(
        model_type=model_type, dtype=dtype, deterministic=True, prefix_cache_bytes=1 << 24
    )
    for _ in range(2):
        got = engine.generate(PROMPTS, num_beams=32)
        assert torch.equal(got.scores, expected.scores)
        assert torch.equal(got.codes, expected.codes)
    assert sum(got.stats.cached_tokens) > 300
    alone = plain.generate(PROMPTS[2:3], num_beams=32)
    assert torch.equal(alone.scores[0], expected.scores[2])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_embeddings_are_known_by_their_bytes(dtype: str) -> None:
    module = random_model("qwen3", VOCAB)
    embeds = module.get_input_embeddings()(torch.tensor([HEAD]))
    engine = make_engine(dtype=dtype, deterministic=True, prefix_cache_bytes=1 << 24)
    first = engine.generate(prompt_embeds=embeds, num_beams=8)
    again = engine.generate(prompt_embeds=embeds, num_beams=8)
    assert again.stats.cached_tokens == (64,)
    assert torch.equal(first.scores, again.scores)
    tokens = engine.generate([HEAD], num_beams=8)
    assert tokens.stats.cached_tokens == (0,) and torch.equal(tokens.scores, first.scores)
    changed = embeds.detach().clone()
    changed[0, 40, 0] += 1
    assert engine.generate(prompt_embeds=changed, num_beams=8).stats.cached_tokens == (32,)


def test_new_weights_read_everything_again() -> None:
    engine, other = make_engine(prefix_cache_bytes=1 << 24), make_engine(seed=1)
    engine.generate(PROMPTS, num_beams=8)
    engine.update_weights(random_model("qwen3", VOCAB, seed=1))
    assert engine.prefix_cache is not None and engine.prefix_cache.stats().blocks == 0
    got = engine.generate(PROMPTS[2:3], num_beams=8)
    assert got.stats.cached_tokens == (0,)
    assert_same(got, other.generate(PROMPTS[2:3], num_beams=8))


def test_little_memory_is_enough_to_be_right() -> None:
    plain = make_engine()
    engine = make_engine(prefix_cache_bytes=100_000)
    assert engine.prefix_cache is not None
    for prompt in PROMPTS * 2:
        got = engine.generate([prompt], num_beams=8)
        assert_same(got, plain.generate([prompt], num_beams=8))
        assert engine.prefix_cache.stats().nbytes <= 100_000
    assert engine.prefix_cache.stats().evictions > 0


def test_many_threads_share_it() -> None:
    engine = make_engine(prefix_cache_bytes=300_000)
    expected = make_engine().generate(PROMPTS, num_beams=8)

    def search(number: int) -> tuple[int, GenerateResult]:
        row = number % len(PROMPTS)
        return row, engine.generate([PROMPTS[row]], num_beams=8)

    with ThreadPoolExecutor(8) as pool:
        for row, got in pool.map(search, range(60)):
            torch.testing.assert_close(got.scores[0], expected.scores[row], atol=1e-4, rtol=0)


@pytest.mark.parametrize("size", [-1, 1.5, True, "64MB"])
def test_sizes_that_are_none_are_refused(size: Any) -> None:
    with pytest.raises(ValueError, match="prefix_cache_bytes"):
        make_engine(prefix_cache_bytes=size)
