"""What the engine promises holds for every family of models: each is run through all of it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import onesearch_fast as osf
from onesearch_fast.testing import random_codes
from onesearch_fast.testing.random_models import random_model

FAMILIES = ("llama", "gpt2", "bart", "mbart")
SIZES = (12, 10, 9, 8)
OFFSETS = (50, 62, 72, 81)
VOCAB = 95
NUM_ITEMS = 400
MAX_POSITIONS = 40
PROMPTS = [[5, 9, 1, 30, 2, 2], [7], [49, 0, 3, 11, 12, 13, 14, 15, 16, 17, 18], [8, 8, 8]]
TOLERANCE = {"atol": 1e-4, "rtol": 0.0}


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest) -> torch.nn.Module:
    return make_model(request.param)


def make_model(family: str, seed: int = 4) -> torch.nn.Module:
    prefix = {"decoder_prefix_ids": [2, 0]} if "bart" in family else {}
    return random_model(family, VOCAB, seed=seed, max_positions=MAX_POSITIONS, **prefix)


@pytest.fixture(scope="module")
def trie() -> osf.SidTrie:
    return osf.SidTrie.build(random_codes(NUM_ITEMS, SIZES, seed=6, skew=0.9), SIZES)


@pytest.fixture(scope="module")
def engine(model: torch.nn.Module, trie: osf.SidTrie) -> osf.Engine:
    return make_engine(model, trie)


def make_engine(
    model: torch.nn.Module,
    trie: osf.SidTrie,
    deterministic: bool = False,
    dtype: str = "float32",
) -> osf.Engine:
    return osf.Engine.from_pretrained(
        model,
        trie,
        dtype=dtype,
        code_token_offsets=OFFSETS,
        deterministic=deterministic,
    )


def padded(left: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """PROMPTS as a matrix, padded with a token that must not matter."""
    length = max(map(len, PROMPTS))
    ids = torch.full((len(PROMPTS), length), 44)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(PROMPTS):
        place = slice(length - len(prompt), None) if left else slice(len(prompt))
        ids[row, place] = torch.tensor(prompt)
        mask[row, place] = 1
    return ids, mask


@pytest.mark.parametrize("left", [False, True])
def test_padding_on_either_side_changes_nothing(engine: osf.Engine, left: bool) -> None:
    expected = engine.generate(PROMPTS, num_beams=16)
    out = engine.generate(*padded(left), num_beams=16)
    assert torch.equal(out.scores, expected.scores) and torch.equal(out.codes, expected.codes)


def test_a_request_finds_alone_what_it_finds_among_others(engine: osf.Engine) -> None:
    together = engine.generate(PROMPTS, num_beams=16)
    for row, prompt in enumerate(PROMPTS):
        alone = engine.generate([prompt], num_beams=16)
        torch.testing.assert_close(alone.scores[0], together.scores[row], **TOLERANCE)
        assert torch.equal(alone.codes[0], together.codes[row])


def test_embeddings_may_stand_for_tokens(model: torch.nn.Module, engine: osf.Engine) -> None:
    ids, mask = padded(left=True)
    embeds = model.get_input_embeddings()(ids)
    out = engine.generate(None, mask, num_beams=8, prompt_embeds=embeds)
    assert torch.equal(out.codes, engine.generate(ids, mask, num_beams=8).codes)


def test_prompts_of_one_token_up_to_the_limit(model: torch.nn.Module, engine: osf.Engine) -> None:
    """An encoder has all positions for the prompt; a decoder needs some for the codes."""
    encoder_decoder = model.config.is_encoder_decoder
    longest = MAX_POSITIONS if encoder_decoder else MAX_POSITIONS - (len(SIZES) - 1)
    assert engine.max_prompt_tokens == longest
    out = engine.generate([[3], [1] * longest], num_beams=4)
    assert out.count.tolist() == [4, 4]
    with pytest.raises(ValueError, match=f"at most {longest} tokens"):
        engine.generate([[1] * (longest + 1)], num_beams=4)


@pytest.mark.parametrize("normalizer", ["level", "children", "none", "vocab"])
def test_teacher_forced_scores_are_those_of_the_search(engine: osf.Engine, normalizer: str) -> None:
    out = engine.generate(PROMPTS, num_beams=NUM_ITEMS, normalizer=normalizer)
    scores = engine.score(PROMPTS, out.codes, normalizer)
    torch.testing.assert_close(scores, out.scores, **TOLERANCE)


def test_filtered_beams_are_the_unfiltered_ones_filtered_afterwards(
    engine: osf.Engine, trie: osf.SidTrie
) -> None:
    allowed = np.arange(NUM_ITEMS) % 7 == 0
    some = trie.filter(allow=allowed)
    out = engine.generate(PROMPTS, num_beams=trie.num_sids, filter=[some, None, some, None])
    free = engine.generate(PROMPTS, num_beams=trie.num_sids)
    kept = torch.from_numpy(some.rank_allowed())[free.rank]
    for row, filtered in enumerate([True, False, True, False]):
        expected = free.rank[row][kept[row]] if filtered else free.rank[row]
        assert torch.equal(out.rank[row, : int(out.count[row])], expected)


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_beam_that_is_no_numbers_spoils_no_other(
    model: torch.nn.Module,
    trie: osf.SidTrie,
    dtype: str,
    value: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The others find what they find else: no row of any layer reads another's."""
    engine, code = make_engine(model, trie, dtype=dtype), 1
    expected = engine.generate(PROMPTS, num_beams=trie.num_sids)
    decoder = engine._space.model
    embed = decoder.embed

    def broken(tokens: torch.Tensor) -> torch.Tensor:
        chosen = tokens == OFFSETS[0] + code
        return embed(tokens).masked_fill(chosen.unsqueeze(-1), value)

    monkeypatch.setattr(decoder, "embed", broken)
    out = engine.generate(PROMPTS, num_beams=trie.num_sids)
    kept = torch.from_numpy(trie.codes(np.arange(trie.num_sids))[:, 0] != code)
    count = int(kept.sum())
    assert out.count.tolist() == [count] * len(PROMPTS) and 0 < count < trie.num_sids
    for row in range(len(PROMPTS)):
        others = kept[expected.rank[row]]
        assert torch.equal(out.rank[row, :count], expected.rank[row][others])
        scores = expected.scores[row][others]
        torch.testing.assert_close(out.scores[row, :count], scores, **TOLERANCE)


def test_updated_weights_are_those_of_a_new_engine(
    model: torch.nn.Module, trie: osf.SidTrie
) -> None:
    other = make_model(model.config.model_type, seed=5)
    engine = make_engine(model, trie)
    engine.update_weights(other)
    out = engine.generate(PROMPTS, num_beams=16)
    assert torch.equal(out.scores, make_engine(other, trie).generate(PROMPTS, num_beams=16).scores)
    assert out.weight_version == 2


def test_deterministic_searches_have_bits_of_their_own(
    model: torch.nn.Module, trie: osf.SidTrie
) -> None:
    engine = make_engine(model, trie, deterministic=True)
    expected = engine.generate(PROMPTS, num_beams=16)
    backwards = engine.generate(PROMPTS[::-1], num_beams=16)
    assert torch.equal(backwards.scores.flip(0), expected.scores)
    for row, prompt in enumerate(PROMPTS):
        alone = engine.generate([prompt], num_beams=16)
        assert torch.equal(alone.scores[0], expected.scores[row])
        assert torch.equal(alone.codes[0], expected.codes[row])


def test_a_model_without_room_for_the_codes_is_refused(trie: osf.SidTrie) -> None:
    with pytest.raises(ValueError, match="max_positions"):
        make_engine(random_model("gpt2", VOCAB, max_positions=3), trie)
    with pytest.raises(ValueError, match="max_positions"):
        make_engine(random_model("bart", VOCAB, max_positions=3), trie)
