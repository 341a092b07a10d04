"""Searching a catalogue that changes: the engine takes the latest snapshot and keeps it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

import onesearch_fast as osf
from onesearch_fast.testing import random_codes
from onesearch_fast.testing.random_models import random_model

SIZES = (12, 10, 9)
OFFSETS = (50, 62, 72)
CODES = random_codes(300, SIZES, seed=6, skew=0.9)
MORE_CODES = random_codes(100, SIZES, seed=7)
MORE_IDS = 1000 + np.arange(100)
PROMPTS = [[5, 9, 1, 30, 2, 2], [7]]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[osf.LiveStore]:
    scores = np.arange(300) % 7
    with osf.LiveStore.create(tmp_path / "store", CODES, SIZES, item_scores=scores) as made:
        yield made


def make_engine(trie: osf.SidTrie | osf.LiveStore) -> osf.Engine:
    model = random_model("qwen3", 81)
    return osf.Engine.from_pretrained(model, trie, dtype="float32", code_token_offsets=OFFSETS)


@pytest.fixture
def engine(store: osf.LiveStore) -> osf.Engine:
    return make_engine(store)


def changed(store: osf.LiveStore) -> osf.SidTrie:
    """Deletes, inserts and moves items; returns a trie built of what lives then."""
    gone = np.arange(0, 300, 3)
    store.delete(gone)
    store.insert(MORE_IDS, MORE_CODES, np.arange(100) % 5)
    store.update_scores(MORE_IDS[:10], np.full(10, 9.0))
    kept = np.setdiff1d(np.arange(300), gone)
    priors = np.arange(100) % 5
    priors[:10] = 9
    return osf.SidTrie.build(
        np.concatenate((CODES[kept], MORE_CODES)),
        SIZES,
        np.concatenate((kept, MORE_IDS)),
        np.concatenate((kept % 7, priors)),
    )


@pytest.mark.parametrize("normalizer", ["level", "children", "none", "vocab"])
def test_a_store_is_searched_as_a_trie_of_its_living_items(
    store: osf.LiveStore, engine: osf.Engine, normalizer: str
) -> None:
    fresh = make_engine(changed(store))
    for beams in (8, 500):
        got = engine.generate(PROMPTS, num_beams=beams, normalizer=normalizer)
        expected = fresh.generate(PROMPTS, num_beams=beams, normalizer=normalizer)
        assert torch.equal(got.codes, expected.codes)
        torch.testing.assert_close(got.scores, expected.scores, atol=1e-4, rtol=0)
        assert torch.equal(got.item_ids(400)[0], expected.item_ids(400)[0])
        scores = engine.score(PROMPTS, expected.codes, normalizer)
        torch.testing.assert_close(scores, expected.scores, atol=1e-4, rtol=0)


def test_a_result_keeps_the_version_it_was_made_of(
    store: osf.LiveStore, engine: osf.Engine
) -> None:
    before = engine.generate(PROMPTS, num_beams=500)
    listed = before.item_ids(300)[0]
    changed(store)
    after = engine.generate(PROMPTS, num_beams=500)
    assert (before.version, after.version) == (0, 3)
    assert torch.equal(before.item_ids(300)[0], listed)
    assert after.item_ids(400)[1].tolist() == [300, 300]


def test_filters_and_versions_of_a_snapshot(store: osf.LiveStore, engine: osf.Engine) -> None:
    old = store.snapshot()
    changed(store)
    new = store.snapshot()
    allowed = [1, 3, 1005]  # 3 is deleted, 1005 inserted
    out = engine.generate(
        PROMPTS,
        num_beams=50,
        trie=[old, new],
        filter=[old.filter(allow=allowed), new.filter(allow=allowed)],
    )
    ids, counts = out.item_ids(5)
    assert [set(row[:count].tolist()) for row, count in zip(ids, counts, strict=True)] == [
        {1, 3},
        {1, 1005},
    ]
    assert out.versions == (0, 3) and out.version is None
    assert engine.generate(PROMPTS, num_beams=2, trie=old).version == 0
    same = engine.generate(PROMPTS, num_beams=2, trie=[store, store])
    assert same.version == 3


def test_little_time_and_certificates_on_a_store(store: osf.LiveStore, engine: osf.Engine) -> None:
    changed(store)
    late = engine.generate(PROMPTS, num_beams=400, deadline_ms=0)
    assert late.item_ids(400)[1].tolist() == [300, 300] and not late.complete.any()
    whole = engine.generate(PROMPTS, num_beams=400)
    assert whole.certified(1).all()  # type: ignore[union-attr]
    assert whole.certified(500).all()  # type: ignore[union-attr]
    few = store.snapshot().filter(allow=[1, 3, 1005])
    some = engine.generate(PROMPTS, num_beams=400, filter=few)
    assert some.certified(500).all()  # type: ignore[union-attr]


def test_searches_go_on_while_the_store_changes(store: osf.LiveStore, engine: osf.Engine) -> None:
    def search(_: int) -> None:
        for _ in range(10):
            out = engine.generate(PROMPTS[:1], num_beams=500)
            ids, count = out.item_ids(500)
            found = ids[0, : int(count[0])].tolist()
            assert len(set(found)) == len(found)
            # Version v has v of the new items, and all of the old ones.
            assert len(found) == 300 + out.version  # type: ignore[operator]

    with ThreadPoolExecutor(5) as pool:
        searches = [pool.submit(search, number) for number in range(4)]
        for number in range(100):
            store.insert(MORE_IDS[number : number + 1], MORE_CODES[number : number + 1])
        for one in searches:
            one.result()
    assert engine.generate(PROMPTS[:1], num_beams=2).version == 100


def test_a_store_of_other_levels_is_refused(engine: osf.Engine, tmp_path: Path) -> None:
    with (
        osf.LiveStore.create(tmp_path / "other", [[0, 0]], (12, 10)) as other,
        pytest.raises(ValueError, match="level_sizes"),
    ):
        engine.generate(PROMPTS, num_beams=2, trie=other)
