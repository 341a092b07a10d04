"""The engine's promises: prompts in every form, counts, filters, bits, threads, weights, errors."""

from __future__ import annotations

import copy
import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import onesearch_fast as osf
from onesearch_fast.engine import beam_search
from onesearch_fast.engine.locks import SharedLock
from onesearch_fast.engine.result import GenerateResult
from onesearch_fast.testing import random_codes
from onesearch_fast.testing.random_models import random_model

SIZES = (12, 10, 9, 8)
OFFSETS = (50, 62, 72, 81)
VOCAB = 95
NUM_ITEMS = 400
PROMPTS = [[5, 9, 1, 30, 2, 2], [7], [49, 0, 3, 11, 12, 13, 14, 15, 16, 17, 18], [8, 8, 8]]


@pytest.fixture(scope="module")
def trie() -> osf.SidTrie:
    codes = random_codes(NUM_ITEMS, SIZES, seed=6, skew=0.9)
    return osf.SidTrie.build(codes, SIZES, item_scores=np.arange(NUM_ITEMS))


@pytest.fixture(scope="module")
def engine(trie: osf.SidTrie) -> osf.Engine:
    return make_engine(trie)


def make_engine(trie: osf.SidTrie, seed: int = 0, **options: Any) -> osf.Engine:
    settings: dict[str, Any] = {"dtype": "float32", "code_token_offsets": OFFSETS} | options
    return osf.Engine.from_pretrained(random_model("qwen3", VOCAB, seed=seed), trie, **settings)


def assert_close(got: GenerateResult, expected: GenerateResult) -> None:
    torch.testing.assert_close(got.scores, expected.scores, atol=1e-4, rtol=0)
    assert torch.equal(got.codes, expected.codes)
    assert torch.equal(got.rank, expected.rank)
    assert torch.equal(got.count, expected.count)


def assert_same_bits(got: GenerateResult, expected: GenerateResult) -> None:
    assert torch.equal(got.scores, expected.scores)
    assert torch.equal(got.codes, expected.codes)


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


# Prompts


@pytest.mark.parametrize("left", [False, True])
def test_padding_on_either_side_changes_nothing(engine: osf.Engine, left: bool) -> None:
    ids, mask = padded(left)
    expected = engine.generate(PROMPTS, num_beams=16)
    assert_same_bits(engine.generate(ids, mask, num_beams=16), expected)
    assert_same_bits(engine.generate(ids.int(), mask.bool(), num_beams=16), expected)


def test_what_the_mask_leaves_out_may_be_anywhere_and_anything(engine: osf.Engine) -> None:
    ids = torch.tensor([[5, -7, 9, 1, 30, 99999, 2, 2]])
    mask = torch.tensor([[1, 0, 1, 1, 1, 0, 1, 1]])
    assert_same_bits(
        engine.generate(ids, mask, num_beams=8), engine.generate([PROMPTS[0]], num_beams=8)
    )


def test_requests_do_not_disturb_each_other(engine: osf.Engine) -> None:
    together = engine.generate(PROMPTS, num_beams=16)
    for row, prompt in enumerate(PROMPTS):
        alone = engine.generate([prompt], num_beams=16)
        torch.testing.assert_close(alone.scores[0], together.scores[row], atol=1e-4, rtol=0)
        assert torch.equal(alone.codes[0], together.codes[row])


def test_embeddings_may_stand_for_tokens(trie: osf.SidTrie) -> None:
    module = random_model("qwen3", VOCAB)
    engine = osf.Engine.from_pretrained(module, trie, dtype="float32", code_token_offsets=OFFSETS)
    ids, mask = padded(left=True)
    embeds = module.get_input_embeddings()(ids)
    assert embeds.requires_grad
    expected = engine.generate(ids, mask, num_beams=8)
    assert_same_bits(engine.generate(None, mask, num_beams=8, prompt_embeds=embeds), expected)
    garbage = embeds.detach().masked_fill(mask[..., None] == 0, torch.nan)
    assert_same_bits(engine.generate(None, mask, num_beams=8, prompt_embeds=garbage), expected)
    scores = engine.score(None, expected.codes, attention_mask=mask, prompt_embeds=embeds)
    torch.testing.assert_close(scores, expected.scores, atol=1e-4, rtol=0)


def test_a_prompt_as_long_as_the_model_allows(trie: osf.SidTrie) -> None:
    engine = make_engine(trie)
    longest = [1] * engine.max_prompt_tokens
    assert len(longest) == 128 - (len(SIZES) - 1)
    assert engine.generate([longest], num_beams=4).count.tolist() == [4]
    with pytest.raises(ValueError, match=f"at most {len(longest)} tokens"):
        engine.generate([[*longest, 1]], num_beams=4)


# What comes out


def test_devices_that_are_not_here_are_refused(
    trie: osf.SidTrie, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onesearch_fast.registry.gpu_why_not", lambda: "no GPU today")
    with pytest.raises(ValueError, match="Engine: device: expected cpu, cuda or cuda:N, got tpu9"):
        make_engine(trie, device="tpu9")
    with pytest.raises(osf.BackendUnavailable, match="got cuda:3; no GPU today; use device cpu"):
        make_engine(trie, device="cuda:3")


def test_shapes_and_dtypes(engine: osf.Engine) -> None:
    out = engine.generate(PROMPTS, num_beams=6)
    assert out.codes.shape == (4, 6, 4) and out.codes.dtype == torch.int32
    assert out.scores.shape == (4, 6) and out.scores.dtype == torch.float32
    assert out.rank.shape == (4, 6) and out.rank.dtype == torch.int64
    assert out.count.shape == (4,) and out.count.dtype == torch.int32
    ids, counts = out.item_ids(3)
    assert ids.shape == (4, 3) and ids.dtype == torch.int64
    assert counts.tolist() == [3, 3, 3, 3]


def test_more_beams_than_sids_gives_a_smaller_count(engine: osf.Engine, trie: osf.SidTrie) -> None:
    out = engine.generate(PROMPTS[:2], num_beams=trie.num_sids + 37)
    assert out.count.tolist() == [trie.num_sids] * 2
    assert sorted(out.rank[0, : trie.num_sids].tolist()) == list(range(trie.num_sids))
    ids, counts = out.item_ids(NUM_ITEMS + 5)
    assert counts.tolist() == [NUM_ITEMS] * 2
    assert sorted(ids[0, :NUM_ITEMS].tolist()) == list(range(NUM_ITEMS))
    assert (ids[:, NUM_ITEMS:] == -1).all()


def test_items_come_in_beam_order_then_by_prior(engine: osf.Engine, trie: osf.SidTrie) -> None:
    out = engine.generate(PROMPTS[:1], num_beams=50)
    ids, counts = out.item_ids(30)
    expected = [item for rank in out.rank[0].tolist() for item in trie.items([rank])[0].tolist()]
    assert ids[0].tolist() == expected[:30] and counts.tolist() == [30]


def test_each_request_keeps_to_its_own_filter(engine: osf.Engine, trie: osf.SidTrie) -> None:
    even = trie.filter(allow=np.arange(NUM_ITEMS) % 2 == 0)
    few = trie.filter(allow=[3, 77, 200])
    none = trie.filter(allow=np.array([], dtype=np.int64))
    filters = [even, None, few, none]
    out = engine.generate(PROMPTS, num_beams=NUM_ITEMS, filter=filters)
    free = engine.generate(PROMPTS, num_beams=NUM_ITEMS)
    ids, counts = out.item_ids(NUM_ITEMS)
    assert counts.tolist() == [NUM_ITEMS // 2, NUM_ITEMS, 3, 0]
    assert set(ids[0, : counts[0]].tolist()) == set(range(0, NUM_ITEMS, 2))
    assert set(ids[2, : counts[2]].tolist()) == {3, 77, 200}
    for row, chosen in enumerate(filters):
        allowed = np.ones(trie.num_sids, bool) if chosen is None else chosen.rank_allowed()
        kept = allowed[free.rank[row, : free.count[row]].numpy()]
        assert free.rank[row, : free.count[row]][kept].tolist() == (
            out.rank[row, : out.count[row]].tolist()
        )
    one = engine.generate(PROMPTS, num_beams=9, filter=few)
    assert one.count.max() <= 3 and one.item_ids(9)[1].tolist() == [3] * 4


@pytest.mark.parametrize("normalizer", ["level", "children", "none", "vocab"])
def test_a_filter_of_one_item_leaves_its_hit(
    engine: osf.Engine, trie: osf.SidTrie, normalizer: str
) -> None:
    every = torch.from_numpy(trie.codes(np.arange(trie.num_sids)))
    scores = engine.score(PROMPTS, every.expand(len(PROMPTS), -1, -1), normalizer)
    for item in (0, 77, NUM_ITEMS - 1):
        one = trie.filter(allow=[item])
        rank = int(one.rank_allowed().nonzero()[0][0])
        out = engine.generate(PROMPTS, num_beams=5, filter=one, normalizer=normalizer)
        assert out.count.tolist() == [1] * 4 and (out.rank[:, 0] == rank).all()
        torch.testing.assert_close(out.scores[:, 0], scores[:, rank], atol=1e-4, rtol=0)
        ids, counts = out.item_ids(3)
        assert counts.tolist() == [1] * 4 and (ids[:, 0] == item).all()


def test_a_catalogue_of_one_item_is_found_whole() -> None:
    engine = make_engine(osf.SidTrie.build([[3, 1, 4, 1]], SIZES, item_ids=[2**40]))
    out = engine.generate(PROMPTS, num_beams=50)
    assert out.count.tolist() == [1] * 4 and out.codes[:, 0].tolist() == [[3, 1, 4, 1]] * 4
    assert (out.item_ids(2)[0] == torch.tensor([2**40, -1])).all()


def test_conditions_are_filters(trie: osf.SidTrie) -> None:
    price = np.arange(NUM_ITEMS) * 0.5
    columns = osf.ItemColumns.build(trie, {"price": price, "new": np.arange(NUM_ITEMS) % 3 == 0})
    engine = make_engine(trie, columns=columns)
    cheap = osf.col("price") < 40
    made = trie.filter(where=cheap & osf.col("new"), columns=columns)
    expected = engine.generate(PROMPTS, num_beams=90, filter=made)
    for condition in (cheap & osf.col("new"), "price < 40 and new"):
        got = engine.generate(PROMPTS, num_beams=90, filter=condition)
        assert_same_bits(got, expected)
        assert torch.equal(got.item_ids(50)[0], expected.item_ids(50)[0])
    mixed = engine.generate(PROMPTS, num_beams=90, filter=[osf.col("new"), None, "new", made])
    found = [set(row[row >= 0].tolist()) for row in mixed.item_ids(NUM_ITEMS)[0]]
    assert all(item % 3 == 0 for row in (0, 2) for item in found[row])
    assert found[3] == {item for item in range(80) if item % 3 == 0}
    with pytest.raises(ValueError, match="prize"):
        engine.generate(PROMPTS, filter=osf.col("prize") < 4)
    with pytest.raises(ValueError, match="position 7"):
        engine.generate(PROMPTS, filter="price <")
    with pytest.raises(TypeError, match="columns"):
        make_engine(trie).generate(PROMPTS, filter=cheap)


def test_scoring_gives_the_scores_of_the_search(engine: osf.Engine) -> None:
    for normalizer in ("level", "children", "none", "vocab"):
        out = engine.generate(PROMPTS, num_beams=500, normalizer=normalizer)
        scores = engine.score(PROMPTS, out.codes, normalizer)
        torch.testing.assert_close(scores, out.scores, atol=1e-4, rtol=0)  # -inf past the count
        best = engine.score(PROMPTS, out.codes[:, 0], normalizer)
        torch.testing.assert_close(best, out.scores[:, 0], atol=1e-4, rtol=0)


def test_sids_outside_the_trie_have_scores_but_no_children(
    engine: osf.Engine, trie: osf.SidTrie
) -> None:
    every = torch.cartesian_prod(*(torch.arange(size) for size in SIZES))
    absent = every[~torch.from_numpy(trie.contains(every))][:50]
    assert engine.score(PROMPTS[:1], absent[None]).isfinite().all()
    assert (engine.score(PROMPTS[:1], absent[None], "children") == -math.inf).all()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_weights_that_are_not_numbers_give_no_beams(trie: osf.SidTrie, value: float) -> None:
    module = random_model("qwen3", VOCAB)
    with torch.no_grad():
        module.model.layers[1].mlp.up_proj.weight[0, 0] = value
    engine = osf.Engine.from_pretrained(module, trie, dtype="float32", code_token_offsets=OFFSETS)
    for normalizer in ("level", "children", "none", "vocab"):
        out = engine.generate(PROMPTS, num_beams=5, normalizer=normalizer)
        assert out.count.tolist() == [0] * 4
        assert (out.codes == -1).all() and (out.rank == -1).all()
        assert (out.scores == -math.inf).all()
        assert out.item_ids(3)[1].tolist() == [0] * 4
        assert out.complete.all() and out.dead.all()
        empty = engine.generate(PROMPTS, filter=trie.filter(allow=[]), normalizer=normalizer)
        assert not empty.dead.any()
    plain = engine.generate(PROMPTS, num_beams=5, constrained=False)
    assert plain.count.tolist() == [0] * 4 and (plain.codes == -1).all()


def test_a_prompt_that_is_no_numbers_spoils_no_other(trie: osf.SidTrie) -> None:
    module = random_model("qwen3", VOCAB)
    engine = osf.Engine.from_pretrained(
        module, trie, dtype="float32", code_token_offsets=OFFSETS, prefix_cache_bytes=1 << 20
    )
    sound = module.get_input_embeddings()(torch.arange(2 * 40).view(2, 40)).detach()
    expected = engine.generate(prompt_embeds=sound, num_beams=9)
    broken = sound.clone()
    broken[0, 3] = math.nan
    out = engine.generate(prompt_embeds=broken, num_beams=9)
    assert out.dead.tolist() == [True, False] and not bool(out.certified(1)[0])  # type: ignore[index]
    torch.testing.assert_close(out.scores[1], expected.scores[1], atol=1e-4, rtol=0)
    again = engine.generate(prompt_embeds=sound, num_beams=9)
    torch.testing.assert_close(again.scores, expected.scores, atol=1e-4, rtol=0)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_stays_near(trie: osf.SidTrie, engine: osf.Engine, dtype: str) -> None:
    half = make_engine(trie, dtype=dtype)
    out = half.generate(PROMPTS, num_beams=20)
    exact = engine.score(PROMPTS, out.codes)
    assert (out.scores - exact).abs().max() < 0.1 * exact.abs().max()
    torch.testing.assert_close(half.score(PROMPTS, out.codes), out.scores, atol=1.0, rtol=0.1)


# Bits, threads, weights


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_deterministic_searches_have_bits_of_their_own(trie: osf.SidTrie, dtype: str) -> None:
    """Whatever the neighbours, the order, the padding and the number of threads."""
    model = random_model("qwen3", VOCAB, hidden_size=200, intermediate_size=700, spread=0.1)
    engine = osf.Engine.from_pretrained(
        model, trie, dtype=dtype, code_token_offsets=OFFSETS, deterministic=True
    )
    prompts = [*PROMPTS, list(range(90)), list(range(40, 0, -1))]
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        expected = engine.generate(prompts, num_beams=32)
        torch.set_num_threads(3)
        other_way = engine.generate(prompts[::-1], num_beams=32)
        assert torch.get_num_threads() == 3
        assert_same_bits(engine.generate(prompts, num_beams=32), expected)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(other_way.scores.flip(0), expected.scores)
    for row, prompt in enumerate(prompts):
        alone = engine.generate([prompt], num_beams=32)
        assert torch.equal(alone.scores[0], expected.scores[row])
        assert torch.equal(alone.codes[0], expected.codes[row])
    assert torch.equal(
        engine.score(prompts, expected.codes)[2], engine.score(prompts[2:3], expected.codes[2:3])[0]
    )


def test_many_threads_may_search_at_once(engine: osf.Engine, trie: osf.SidTrie) -> None:
    filters = [None, trie.filter(deny=list(range(0, NUM_ITEMS, 3)))]
    jobs = [(prompt, beams, flt) for prompt in PROMPTS for beams in (3, 40) for flt in filters]

    def search(job: tuple[list[int], int, Any]) -> GenerateResult:
        return engine.generate([job[0]], num_beams=job[1], filter=job[2])

    expected = [search(job) for job in jobs]
    with ThreadPoolExecutor(6) as pool:
        for got, wanted in zip(pool.map(search, jobs * 4), expected * 4, strict=True):
            assert_close(got, wanted)


def test_updated_weights_are_used_and_counted(trie: osf.SidTrie) -> None:
    engine, other = make_engine(trie, seed=0), make_engine(trie, seed=1)
    first = engine.generate(PROMPTS, num_beams=8)
    new = random_model("qwen3", VOCAB, seed=1)
    before = copy.deepcopy(new.state_dict())
    engine.update_weights(new)
    second = engine.generate(PROMPTS, num_beams=8)
    assert_same_bits(second, other.generate(PROMPTS, num_beams=8))
    assert not torch.equal(second.scores, first.scores)
    assert (first.weight_version, second.weight_version, engine.weight_version) == (1, 2, 2)
    assert all(torch.equal(before[name], t) for name, t in new.state_dict().items())
    with pytest.raises(ValueError, match="intermediate_size"):
        engine.update_weights(random_model("qwen3", VOCAB, intermediate_size=64))
    assert engine.weight_version == 2
    assert_same_bits(engine.generate(PROMPTS, num_beams=8), second)


@pytest.mark.parametrize(
    ("other", "named"),
    [({"rope_theta": 500.0}, "rope_theta"), ({"rms_norm_eps": 1e-3}, "norm_eps")],
)
def test_weights_that_fit_by_shape_alone_are_refused(
    engine: osf.Engine, other: dict[str, Any], named: str
) -> None:
    with pytest.raises(ValueError, match=f"load_model: {named}"):
        engine.update_weights(random_model("qwen3", VOCAB, seed=1, **other))


def test_an_untied_head_is_not_dropped_in_silence(trie: osf.SidTrie) -> None:
    tied = random_model("qwen3", VOCAB, tie_word_embeddings=True)
    engine = osf.Engine.from_pretrained(tied, trie, code_token_offsets=OFFSETS)
    with pytest.raises(ValueError, match="tied"):
        engine.update_weights(random_model("qwen3", VOCAB, tie_word_embeddings=False))


def test_a_search_sees_old_or_new_weights_never_both(trie: osf.SidTrie) -> None:
    engine = make_engine(trie, seed=0)
    modules = [random_model("qwen3", VOCAB, seed=seed) for seed in (0, 1)]
    expected = []
    for module in modules:
        engine.update_weights(module)
        expected.append(engine.generate(PROMPTS, num_beams=8).scores)
    with ThreadPoolExecutor(3) as pool:
        searches = [pool.submit(engine.generate, PROMPTS, num_beams=8) for _ in range(20)]
        for turn in range(10):
            engine.update_weights(modules[turn % 2])
        for search in searches:
            out = search.result()
            wanted = expected[out.weight_version % 2]
            torch.testing.assert_close(out.scores, wanted, atol=1e-4, rtol=0)


def test_a_folder_carries_its_code_ranges(tmp_path: Path, trie: osf.SidTrie) -> None:
    module = random_model("qwen3", VOCAB, code_token_offsets=list(OFFSETS), level_sizes=list(SIZES))
    module.save_pretrained(tmp_path)
    from_folder = osf.Engine.from_pretrained(tmp_path, trie, dtype="float32")
    assert_same_bits(
        from_folder.generate(PROMPTS, num_beams=8),
        make_engine(trie).generate(PROMPTS, num_beams=8),
    )
    other = osf.SidTrie.build([[1, 2, 3, 4], [0, 0, 0, 0]], (12, 10, 9, 9))
    with pytest.raises(ValueError, match="level_sizes"):
        osf.Engine.from_pretrained(tmp_path, other)


# Bad input


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"num_beams": 0}, "num_beams"),
        ({"num_beams": -3}, "num_beams"),
        ({"num_beams": 2.0}, "num_beams"),
        ({"num_beams": 10**9}, "num_beams"),
        ({"num_beams": True}, "num_beams"),
        ({"num_beams": "8"}, "num_beams"),
        ({"input_ids": [1, 2, 3]}, "input_ids"),
        ({"input_ids": "red mug"}, "input_ids"),
        ({"input_ids": [["red"]]}, "input_ids"),
        ({"input_ids": [[[1], [2]]]}, "input_ids"),
        ({"normalizer": "softmax"}, "normalizer"),
        ({"input_ids": [[1, 2], []]}, "attention_mask"),
        ({"input_ids": []}, "input_ids"),
        ({"input_ids": None}, "input_ids"),
        ({"input_ids": torch.tensor([1, 2])}, "input_ids"),
        ({"input_ids": torch.zeros(1, 0, dtype=torch.int64)}, "input_ids"),
        ({"input_ids": [[1, VOCAB]]}, "input_ids"),
        ({"input_ids": torch.tensor([[-1]])}, "input_ids"),
        (
            {"input_ids": torch.ones(1, 3, dtype=torch.int64), "attention_mask": torch.ones(1, 2)},
            "",
        ),
        (
            {
                "input_ids": torch.ones(1, 3, dtype=torch.int64),
                "attention_mask": 2 * torch.ones(1, 3),
            },
            "",
        ),
        ({"attention_mask": torch.ones(1, 3)}, "attention_mask"),
        ({"prompt_embeds": torch.ones(1, 3, 47)}, "prompt_embeds"),
        ({"constrained": False, "normalizer": "children"}, "normalizer"),
        ({"filter": [None, None]}, "filter"),
    ],
)
def test_bad_arguments_are_refused_by_name(
    engine: osf.Engine, arguments: dict[str, Any], named: str
) -> None:
    with pytest.raises(ValueError, match=named or "attention_mask"):
        engine.generate(**({"input_ids": [[1, 2, 3]], "num_beams": 4} | arguments))


def test_bad_types_are_refused(engine: osf.Engine, trie: osf.SidTrie) -> None:
    with pytest.raises(TypeError, match="input_ids"):
        engine.generate(torch.ones(1, 3))
    with pytest.raises(TypeError, match="input_ids"):
        engine.generate([[1.5, 2.7]])
    with pytest.raises(TypeError, match="input_ids"):
        engine.generate(7)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="attention_mask"):
        engine.generate(torch.ones(1, 3).long(), [[1, 1, 1]])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="prompt_embeds"):
        engine.generate(prompt_embeds=np.ones((1, 3, 48)))  # type: ignore[arg-type]
    for no_filter in (5, np.ones(NUM_ITEMS, dtype=bool)):
        with pytest.raises(TypeError, match="filter"):
            engine.generate(PROMPTS[:1], filter=no_filter)  # type: ignore[arg-type]
    for dtype in (torch.float32, torch.bool):
        with pytest.raises(TypeError, match="codes"):
            engine.score(PROMPTS[:1], torch.zeros(1, 1, 4, dtype=dtype))
    with pytest.raises(TypeError, match=r"codes: .*torch\.from_numpy"):
        engine.score(PROMPTS[:1], np.zeros((1, 1, 4), dtype=np.int64))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="filter"):
        engine.generate(PROMPTS[:1], filter=trie.filter(allow=[1]), constrained=False)
    other = osf.SidTrie.build([[0, 0, 0, 0], [1, 1, 1, 1]], SIZES)
    with pytest.raises(ValueError, match="filter"):
        engine.generate(PROMPTS[:1], filter=other.filter(allow=[1]))


@pytest.mark.parametrize(
    "rows",
    [[[0, 0, 0, 8]], [[12, 0, 0, 0]], [[0, 0, 0, -2]], [[0, 0, 0]], [[0, 0, 0, 0], [0, 0, 0, 0]]],
)
def test_bad_codes_are_refused(engine: osf.Engine, rows: list[list[int]]) -> None:
    with pytest.raises(ValueError, match="codes"):
        engine.score(PROMPTS[:1], torch.tensor(rows))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"code_token_offsets": None}, "code_token_offsets"),
        ({"code_token_offsets": (50, 62, 72)}, "code_token_offsets"),
        ({"code_token_offsets": (50, 62, 72, 88)}, "level 3's 8 codes"),
        ({"code_token_offsets": (-1, 62, 72, 81)}, "level 0's 12 codes"),
        ({"code_token_offsets": (50, 61, 72, 81)}, "the 12 codes from id 50"),
        ({"code_token_offsets": (75, 62, 50, 81)}, "the 12 codes from id 75"),
        ({"dtype": "int8"}, "dtype"),
        ({"dtype": torch.int64}, "dtype"),
    ],
)
def test_engines_that_cannot_be_are_refused(
    trie: osf.SidTrie, options: dict[str, Any], named: str
) -> None:
    with pytest.raises(ValueError, match=named):
        make_engine(trie, **options)


def test_levels_may_share_one_range_of_tokens(trie: osf.SidTrie) -> None:
    shared = make_engine(trie, code_token_offsets=(50, 50, 50, 50))
    assert shared.generate(PROMPTS[:1], num_beams=8).count.tolist() == [8]


def test_the_trie_must_be_a_trie() -> None:
    with pytest.raises(TypeError, match="SidTrie"):
        osf.Engine.from_pretrained(random_model("qwen3", VOCAB), [[1, 2]])  # type: ignore[arg-type]


def test_a_trie_given_for_the_model_is_named(trie: osf.SidTrie) -> None:
    with pytest.raises(TypeError, match="the model comes first, the trie second"):
        osf.Engine.from_pretrained(trie, trie)  # type: ignore[arg-type]


@pytest.mark.parametrize("k", [0, True, 2.0, 10**12])
def test_item_ids_needs_a_number(engine: osf.Engine, k: Any) -> None:
    with pytest.raises(ValueError, match="k:"):
        engine.generate(PROMPTS[:1], num_beams=2).item_ids(k)


def test_numbers_may_be_of_numpy(engine: osf.Engine) -> None:
    out = engine.generate(np.array([[1, 2, 3]]), num_beams=np.int64(4))  # type: ignore[arg-type]
    assert_same_bits(out, engine.generate([[1, 2, 3]], num_beams=4))
    assert out.item_ids(np.int32(3))[0].shape == (1, 3)  # type: ignore[arg-type]


def test_an_answer_says_where_its_time_went(engine: osf.Engine) -> None:
    stats = engine.generate(PROMPTS, num_beams=8).stats
    assert stats.prompt_tokens == tuple(map(len, PROMPTS)) and stats.cached_tokens == (0,) * 4
    assert len(stats.model) == len(stats.selection) == len(SIZES) and stats.batches == 1
    parts = [stats.prefill, *stats.model, *stats.selection]
    assert min(parts) > 0 and sum(parts) <= stats.seconds


def test_a_batch_size_needs_beams(engine: osf.Engine) -> None:
    with pytest.raises(ValueError, match="num_beams"):
        engine.batch_size(6, -2)


@pytest.mark.parametrize("normalizer", ["level", "children", "none", "vocab"])
def test_a_broken_row_scores_as_it_is_searched(normalizer: str) -> None:
    """NaN in the logits of one code ends every SID, whether a normaliser reads it or not."""
    model = random_model("qwen3", VOCAB)
    trie = osf.SidTrie.build([[0, 0, 0, 0], [1, 1, 1, 1], [1, 2, 0, 0]], SIZES)
    model.get_output_embeddings().weight.data[OFFSETS[0] + 5] = math.nan  # type: ignore[operator]
    engine = osf.Engine.from_pretrained(model, trie, dtype="float32", code_token_offsets=OFFSETS)
    codes = torch.from_numpy(trie.codes(np.arange(3)))[None]
    assert engine.generate([[1, 2]], num_beams=4, normalizer=normalizer).count.tolist() == [0]
    assert engine.score([[1, 2]], codes, normalizer=normalizer).tolist() == [[-math.inf] * 3]


def test_an_interrupted_update_keeps_no_search_out() -> None:
    """As Ctrl-C in an update that waits for a search."""
    lock = SharedLock()

    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    with lock.shared():
        wait_for, lock._changed.wait_for = lock._changed.wait_for, interrupt  # type: ignore[assignment,method-assign]
        with pytest.raises(KeyboardInterrupt), lock.alone():
            pass
        lock._changed.wait_for = wait_for  # type: ignore[method-assign]
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(lambda: lock.shared().__enter__()).result(timeout=10) is None


def test_steps_take_turns_in_two_results(
    engine: osf.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory, step = [], beam_search.constrained_beam_step

    def recorded(*args: Any, out: Any, **options: Any) -> Any:
        memory.append(out.node.data_ptr())
        return step(*args, out=out, **options)

    monkeypatch.setattr(beam_search, "constrained_beam_step", recorded)
    engine.generate(PROMPTS, num_beams=8)
    assert len(memory) == len(SIZES) and memory[0] == memory[2] != memory[1] == memory[3]
