"""Building the trie from unsorted codes, and loading it.

Rivals of the build: STATIC's construction in numpy (static_reference.py), marisa-trie and a trie of
nested dicts. STATIC and the dicts give nodes and no items; marisa-trie gives members only, and its
keys are made from the codes beforehand. bench_sid_trie_growth.py has larger catalogues and memory.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import marisa_trie
import numpy as np
import pytest
from static_reference import StaticIndex
from trie_rivals import even_codes, marisa_keys, marisa_trie_of, nodes_of_dict_trie

from onesearch_fast.index.sid_trie import SidTrie
from onesearch_fast.testing import random_codes

CATALOGUES = {
    "100k-3x256-uniform": (100_000, (256,) * 3, 0.0),
    "100k-5x256-zipf": (100_000, (256,) * 5, 1.0),
    "1M-3x2048-uniform": (1_000_000, (2048,) * 3, 0.0),
    "1M-4x2048-zipf": (1_000_000, (2048,) * 4, 1.0),
}


def assert_same(ours: object, theirs: object) -> None:
    assert ours == theirs


@pytest.mark.parametrize("name", CATALOGUES)
def test_build(race: Callable[..., None], tiny: bool, name: str) -> None:
    num_items, level_sizes, skew = CATALOGUES[name]
    codes = random_codes(1000 if tiny else num_items, level_sizes, skew=skew)

    def native() -> tuple[int, ...]:
        trie = SidTrie.build(codes, level_sizes)
        return tuple(trie.num_nodes(level) for level in range(1, len(level_sizes) + 1))

    rivals = {
        "native": native,
        "STATIC's algorithm": lambda: StaticIndex.build(codes, level_sizes[0]).nodes_per_level,
        "dict of dicts": lambda: nodes_of_dict_trie(codes),
    }
    race(rivals, assert_same, repeats=3)


@pytest.mark.parametrize("name", CATALOGUES)
def test_build_of_members(race: Callable[..., None], tiny: bool, name: str) -> None:
    num_items, level_sizes, skew = CATALOGUES[name]
    codes = random_codes(1000 if tiny else num_items, level_sizes, skew=skew)
    keys = marisa_keys(codes)
    rivals = {
        "native": lambda: SidTrie.build(codes, level_sizes).num_sids,
        "marisa-trie": lambda: len(marisa_trie_of(keys)),
    }
    race(rivals, assert_same, repeats=3)


@pytest.mark.parametrize("with_scores", [False, True], ids=["ids", "ids-scores"])
def test_build_with_ids(benchmark: Callable[..., SidTrie], tiny: bool, with_scores: bool) -> None:
    num_items = 1000 if tiny else 1_000_000
    codes = even_codes(num_items, (256,) * 3)
    rng = np.random.default_rng(0)
    ids = rng.permutation(num_items) * 1001
    scores = rng.random(num_items) if with_scores else None
    trie = benchmark(lambda: SidTrie.build(codes, (256,) * 3, ids, scores))
    trie.verify()


def test_load_to_first_answer(race: Callable[..., None], tmp_path: Path, tiny: bool) -> None:
    level_sizes = (2048,) * 4
    codes = even_codes(1000 if tiny else 1_000_000, level_sizes)
    SidTrie.build(codes, level_sizes).save(tmp_path / "sid_trie.bin")
    keys = marisa_keys(codes)
    marisa_trie_of(keys).save(str(tmp_path / "marisa.bin"))
    rivals = {
        "native": lambda: bool(
            SidTrie.load(tmp_path / "sid_trie.bin", verify=False).contains(codes[:1])[0]
        ),
        "marisa-trie, mapped": lambda: (
            keys[0] in marisa_trie.BinaryTrie().mmap(str(tmp_path / "marisa.bin"))
        ),
    }
    race(rivals, assert_same)
