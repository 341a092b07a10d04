"""The builder for tensors on a GPU, run on the CPU: the bytes of the native one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from onesearch_fast.index import SidTrie, sid_trie
from onesearch_fast.index.device_builder import DeviceRows, build_on_device
from onesearch_fast.testing.tries import random_codes

Arguments = dict[str, Any]


def tensors(arguments: Arguments) -> Arguments:
    return {
        name: torch.from_numpy(value) if isinstance(value, np.ndarray) else value
        for name, value in arguments.items()
    }


def assert_same_bytes(arguments: Arguments) -> None:
    optional = {"item_ids": None, "item_scores": None, "keep_scores": False}
    rows = DeviceRows.of(**tensors(optional | arguments))
    assert rows.are_sound()
    built = build_on_device(rows)
    assert built is not None
    built.verify()
    # The header's checksum, which covers those of all sections.
    assert built.fingerprint == SidTrie.build(**arguments)._handle.fingerprint


@st.composite
def catalogues(draw: st.DrawFn) -> Arguments:
    sizes = draw(st.lists(st.sampled_from([2, 3, 256, 257, 65536]), min_size=2, max_size=8))
    num_items = draw(st.integers(1, 200))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    # Few values a level, the greatest among them, so that prefixes and whole SIDs are shared.
    columns = []
    for size in sizes:
        values = np.append(rng.integers(0, size, draw(st.integers(0, 3))), size - 1)
        columns.append(rng.choice(values, num_items))
    dtype = np.int64 if draw(st.booleans()) else np.int32
    arguments = {"codes": np.stack(columns, 1).astype(dtype), "level_sizes": sizes}
    if draw(st.booleans()):
        ids = np.append(rng.integers(0, 2**63 - 1, num_items - 1), 2**63 - 1)
        arguments["item_ids"] = rng.permutation(ids)
    if draw(st.booleans()):
        arguments["item_scores"] = rng.choice([-1.5, -0.0, 0.0, 2.0, 1e-300], num_items)
        arguments["keep_scores"] = draw(st.booleans())
    return arguments


@given(catalogues())
def test_any_catalogue_gives_the_native_bytes(arguments: Arguments) -> None:
    assert_same_bytes(arguments)


@pytest.mark.parametrize("sizes", [(4096, 1024, 512, 256, 256), (16, 16, 16), (65536,) * 8])
@pytest.mark.parametrize("skew", [0.0, 1.5])
def test_partitions_of_every_form(sizes: tuple[int, ...], skew: float) -> None:
    """Packed ones over many words, offsets, and levels that store nothing."""
    assert_same_bytes({"codes": random_codes(20000, sizes, skew=skew), "level_sizes": sizes})


@pytest.mark.parametrize("num_items", [1, 63, 64, 65, 5000])
def test_one_sid_holds_all_items(num_items: int) -> None:
    codes = np.full((num_items, 3), 7)
    assert_same_bytes({"codes": codes, "level_sizes": (8, 8, 8)})


def test_every_node_has_one_child() -> None:
    codes = np.repeat(np.arange(300)[:, None], 4, axis=1)
    assert_same_bytes({"codes": codes[::-1].copy(), "level_sizes": (300,) * 4})


def test_infinite_scores_have_an_order() -> None:
    codes = np.zeros((5, 2), dtype=np.int64)
    scores = np.array([-np.inf, np.inf, 0.0, np.inf, -1.0])
    assert_same_bytes({"codes": codes, "level_sizes": (2, 2), "item_scores": scores})


def test_the_file_is_the_same(tmp_path: Path) -> None:
    codes = random_codes(3000, (32, 32, 32), skew=1.0)
    built = build_on_device(DeviceRows.of(torch.from_numpy(codes), (32,) * 3, None, None, False))
    assert built is not None
    built.save(str(tmp_path / "device").encode())
    SidTrie.build(codes, (32,) * 3).save(tmp_path / "host")
    assert (tmp_path / "device").read_bytes() == (tmp_path / "host").read_bytes()


CODES = torch.tensor([[0, 1], [1, 0], [3, 3]])
UNSOUND = {
    "negative": {"codes": CODES - 1},
    "too_large": {"codes": CODES + 1},
    "uint64": {"codes": torch.tensor([[0, 2**64 - 1]], dtype=torch.uint64)},
    "float": {"codes": CODES.float()},
    "bool": {"codes": CODES.bool()},
    "no_items": {"codes": CODES[:0]},
    "one_axis": {"codes": CODES[0]},
    "width": {"codes": CODES[:, :1]},
    "one_level": {"codes": CODES[:, :1], "level_sizes": (4,)},
    "level_size": {"level_sizes": (4, 65537)},
    "ids_twice": {"item_ids": torch.tensor([5, 6, 5])},
    "ids_negative": {"item_ids": torch.tensor([5, 6, -1])},
    "ids_short": {"item_ids": torch.tensor([5, 6])},
    "ids_float": {"item_ids": torch.tensor([5.0, 6.0, 7.0])},
    "ids_list": {"item_ids": [5, 6, 6]},
    "scores_nan": {"item_scores": torch.tensor([0.0, float("nan"), 1.0])},
    "scores_kept": {"item_scores": torch.tensor([0.0, 1e39, 1.0]).double(), "keep_scores": True},
    "scores_complex": {"item_scores": torch.ones(3, dtype=torch.complex64)},
    "no_scores": {"keep_scores": True},
}


@pytest.mark.parametrize("name", UNSOUND)
def test_what_is_unsound_is_refused_in_the_native_words(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = {"codes": CODES, "level_sizes": (4, 4)} | UNSOUND[name]
    with pytest.raises((ValueError, TypeError)) as native:
        SidTrie.build(**arguments)
    monkeypatch.setattr(sid_trie, "_is_on_gpu", lambda values: isinstance(values, torch.Tensor))
    with pytest.raises(native.type) as ours:
        SidTrie.build(**arguments)
    assert str(ours.value) == str(native.value)


def test_ids_and_scores_may_lie_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = {"level_sizes": (4, 4), "item_ids": [9, 4, 6], "item_scores": np.arange(3)}
    want = SidTrie.build(CODES.numpy(), **arguments)
    monkeypatch.setattr(sid_trie, "_is_on_gpu", lambda values: isinstance(values, torch.Tensor))
    assert SidTrie.build(CODES.int(), **arguments)._handle.fingerprint == want._handle.fingerprint
