"""Vectorised steps down a trie against its plain meaning."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

import onesearch_fast as osf
from onesearch_fast.index.trie_walk import child_nodes, valid_tokens
from onesearch_fast.testing import random_codes

SIZES = (5, 4, 6)


@given(num_items=st.integers(1, 80), seed=st.integers(0, 9), skew=st.sampled_from([0.0, 1.5]))
def test_walks_agree_with_the_set_of_sids(num_items: int, seed: int, skew: float) -> None:
    codes = random_codes(num_items, SIZES, seed, skew)
    trie = osf.SidTrie.build(codes, SIZES)
    prefixes = {tuple(row[:depth]) for row in codes.tolist() for depth in range(4)}
    every = np.stack(np.meshgrid(*map(np.arange, SIZES), indexing="ij"), -1).reshape(-1, 3)
    nodes = np.zeros(len(every), dtype=np.int64)
    for level in range(3):
        valid = valid_tokens(trie, level, nodes)
        for row, mask in zip(every.tolist(), valid, strict=True):
            expected = [(*row[:level], code) in prefixes for code in range(SIZES[level])]
            assert mask.tolist() == expected
        nodes = child_nodes(trie, level, nodes, every[:, level])
        alive = [tuple(row[: level + 1]) in prefixes for row in every.tolist()]
        assert (nodes >= 0).tolist() == alive
    assert nodes.tolist() == trie.rank(every).tolist()


def test_codes_outside_a_level_lead_nowhere() -> None:
    trie = osf.SidTrie.build([[0, 0, 0], [4, 3, 5]], SIZES)
    wild = np.array([-1, -70000, 5, 70000, 2**40])
    assert child_nodes(trie, 0, np.zeros(5, dtype=np.int64), wild).tolist() == [-1] * 5
    assert child_nodes(trie, 1, np.array([-1]), np.array([0])).tolist() == [-1]


def test_unverified_bytes_lead_nowhere_or_to_nodes(tmp_path: Path) -> None:
    path = tmp_path / "sid_trie.bin"
    osf.SidTrie.build(random_codes(80, SIZES), SIZES).save(path)
    sound = path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(30):
        content = np.frombuffer(sound, dtype=np.uint8).copy()
        content[rng.integers(640, len(content), 40)] = rng.integers(0, 256, 40)
        path.write_bytes(content.tobytes())
        trie = osf.SidTrie.load(path, verify=False)
        for level in range(3):
            nodes = np.arange(trie.num_nodes(level))
            valid = valid_tokens(trie, level, nodes)
            assert valid.shape == (len(nodes), SIZES[level])
            for code in (0, 1, 40000):
                found = child_nodes(trie, level, nodes, np.full(len(nodes), code))
                assert (found < trie.num_nodes(level + 1)).all()
                assert code < SIZES[level] or (found == -1).all()


def test_filters_take_away_what_leads_to_no_allowed_item() -> None:
    codes = random_codes(60, SIZES, seed=3)
    trie = osf.SidTrie.build(codes, SIZES)
    kept = [7, 30, 31]
    only = osf.SidTrie.build(codes[kept], SIZES)
    root = np.zeros(1, dtype=np.int64)
    chosen = trie.filter(allow=kept)
    got = valid_tokens(trie, 0, root, chosen)
    assert (got == valid_tokens(only, 0, root)).all()
    code = codes[7, :1]
    got = valid_tokens(trie, 1, child_nodes(trie, 0, root, code), chosen)
    assert (got == valid_tokens(only, 1, child_nodes(only, 0, root, code))).all()
