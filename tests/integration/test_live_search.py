"""A beam search over a snapshot finds what one over a trie built of the same items finds."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from onesearch_fast import col
from onesearch_fast.index import ItemColumns, ItemFilter, LiveStore, SidTrie, Snapshot
from onesearch_fast.ops import constrained_beam_step
from onesearch_fast.testing import random_codes

SIZES = (300, 12, 9, 7)  # tokens of two bytes, and of one
NUM_BEAMS = 40
NUM_ITEMS = 1500


def beam_search(
    catalogue: SidTrie | Snapshot, normalizer: str, allowed: ItemFilter | None = None
) -> tuple[list[list[int]], torch.Tensor]:
    """SIDs best first and their scores; a beam's logits follow from its last code."""
    node = torch.zeros(1, 1, dtype=torch.int32)
    scores = torch.zeros(1, 1)
    paths = torch.zeros(1, 0, dtype=torch.int64)
    for level, size in enumerate(SIZES):
        rows = SIZES[level - 1] + 1 if level else 1
        table = torch.randn(rows, size, generator=torch.Generator().manual_seed(level))
        last = paths[:, -1].clamp(min=-1) if level else torch.zeros(1, dtype=torch.int64)
        step = constrained_beam_step(
            table[last][None],
            node,
            scores,
            catalogue,
            NUM_BEAMS,
            level,
            normalizer=normalizer,
            log_normalizer=torch.full(node.shape, 3.0) if normalizer == "vocab" else None,
            filter=allowed,
        )
        parents = step.parent_beam[0].clamp(min=0).long()
        paths = torch.cat((paths[parents], step.tokens[0][:, None].long()), dim=1)
        node, scores = step.node, step.scores
    count = int(step.count[0])
    assert (catalogue.codes(node[0, :count]) == paths[:count].numpy()).all()
    return paths[:count].tolist(), scores[0, :count]


def assert_same_search(snapshot: Snapshot, trie: SidTrie, filters: list[ItemFilter | None]) -> None:
    for normalizer in ("none", "vocab", "level", "children"):
        sids, scores = beam_search(snapshot, normalizer, filters[0])
        expected_sids, expected_scores = beam_search(trie, normalizer, filters[1])
        assert sids == expected_sids
        torch.testing.assert_close(scores, expected_scores, rtol=0, atol=1e-5)


def every_item(snapshot: Snapshot) -> tuple[np.ndarray, np.ndarray]:
    """Ids and codes of all items."""
    ranks = np.arange(snapshot.num_nodes(snapshot.num_levels))
    ids, offsets = snapshot.items(ranks)
    return ids, np.repeat(snapshot.codes(ranks), np.diff(offsets), axis=0)


@pytest.fixture
def store(tmp_path: Path) -> LiveStore:
    codes = random_codes(NUM_ITEMS, SIZES, skew=1.0)
    prices = np.arange(NUM_ITEMS) % 10
    return LiveStore.create(tmp_path / "store", codes, SIZES, columns={"price": prices})


def test_search_over_a_snapshot(store: LiveStore) -> None:
    rng = np.random.default_rng(0)
    codes = random_codes(4 * 300, SIZES, seed=1, skew=1.0)
    for turn in range(4):
        ids = np.arange(300) + NUM_ITEMS + 300 * turn
        fresh = codes[turn * 300 : (turn + 1) * 300]
        store.insert(ids, fresh, columns={"price": ids % 10})
        held, _ = every_item(store.snapshot())
        store.delete(rng.choice(held, 350, replace=False))
        snapshot = store.snapshot()
        ids, sids = every_item(snapshot)
        trie = SidTrie.build(sids, SIZES, ids)
        assert_same_search(snapshot, trie, [None, None])
        cheap = col("price") < 3
        columns = ItemColumns.build(trie, {"price": ids % 10})
        denied = rng.choice(ids, 100, replace=False)
        assert_same_search(
            snapshot,
            trie,
            [
                snapshot.filter(deny=denied, where=cheap),
                trie.filter(deny=denied, where=cheap, columns=columns),
            ],
        )
        if turn == 2:
            store.compact()
    few = snapshot.filter(allow=ids[:3])
    assert_same_search(snapshot, trie, [few, trie.filter(allow=ids[:3])])
    nothing = snapshot.filter(where=cheap & (col("price") > 5))
    assert beam_search(snapshot, "level", nothing)[0] == []


def test_searches_while_updates_run(store: LiveStore) -> None:
    codes = random_codes(200, SIZES, seed=2, skew=1.0)
    ids = np.arange(200) + NUM_ITEMS
    finished = threading.Event()

    def write() -> None:
        turn = 0
        while not finished.is_set():
            store.insert(ids, np.roll(codes, turn, axis=0))
            store.update_attributes(ids[:50], {"price": np.full(50, turn)})
            store.delete(ids)
            turn += 1
            if turn % 10 == 5:
                store.compact()

    writer = threading.Thread(target=write)
    writer.start()
    versions = set()
    try:
        while len(versions) < 60:
            snapshot = store.snapshot()
            held, sids = every_item(snapshot)
            assert len(held) in (NUM_ITEMS, NUM_ITEMS + len(ids))
            trie = SidTrie.build(sids, SIZES, held)
            assert beam_search(snapshot, "level")[0] == beam_search(trie, "level")[0]
            versions.add(snapshot.version)
    finally:
        finished.set()
        writer.join()
