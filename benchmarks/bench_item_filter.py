"""Making a filter, from ten thousand items to a hundred million: what a request waits for first.

Every filter ends as bits, a directory of counts and their sum. The rivals in numpy do the same with
boolean masks over arrays that lie in the items' order already, `packbits`, and a sum a block.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import onesearch_fast as osf

SIZES = (10_000, 100_000, 1_000_000, 10_000_000, 100_000_000)
NUM_CATEGORIES = 300
BLOCK_BYTES = 64
NUM_DENIED = 1000
NAMES = (
    "price < 5",
    "category in 3",
    "category in 43",
    "price, category and stock",
    "mask",
    "deny 1000 ids",
)

Bits = tuple[np.ndarray, np.ndarray, int]  # packed mask, members of each block, members


@dataclass(frozen=True)
class Catalogue:
    """Items whose rows are their positions, and their attributes in both forms."""

    trie: osf.SidTrie
    columns: osf.ItemColumns
    price: np.ndarray
    category: np.ndarray
    in_stock: np.ndarray


def catalogue_of(num_items: int) -> Catalogue:
    rng = np.random.default_rng(0)
    price = rng.random(num_items, dtype=np.float32) * 100
    category = rng.integers(NUM_CATEGORIES, size=num_items, dtype=np.uint16)
    in_stock = rng.random(num_items, dtype=np.float32) < 0.8
    digits = np.arange(num_items, dtype=np.uint32)
    codes = np.stack([digits >> shift & 255 for shift in (24, 16, 8, 0)], axis=1).astype(np.uint8)
    trie = osf.SidTrie.build(codes, (256,) * 4)
    names = pa.array([f"category {i:03}" for i in range(NUM_CATEGORIES)])
    columns = osf.ItemColumns.build(
        trie,
        {
            "price": price,
            "category": pa.DictionaryArray.from_arrays(category, names),
            "in_stock": in_stock,
        },
    )
    return Catalogue(trie, columns, price, category, in_stock)


@pytest.fixture(scope="module")
def catalogue() -> Callable[[int], Catalogue]:
    """The catalogue of a size; the one before is dropped, since the largest takes 3 GB."""
    kept: dict[int, Catalogue] = {}

    def get(num_items: int) -> Catalogue:
        if num_items not in kept:
            kept.clear()
            gc.collect()
            kept[num_items] = catalogue_of(num_items)
        return kept[num_items]

    return get


def packed(mask: np.ndarray) -> Bits:
    bits = np.packbits(mask, bitorder="little")
    whole = np.pad(bits, (0, -len(bits) % BLOCK_BYTES)).reshape(-1, BLOCK_BYTES)
    counts = np.bitwise_count(whole).sum(axis=1, dtype=np.uint32)
    return bits, np.cumsum(counts), int(counts.sum())


def assert_same_items(ours: osf.ItemFilter, theirs: Bits) -> None:
    assert ours.num_allowed_items == theirs[2]
    assert (np.packbits(ours.item_allowed(), bitorder="little") == theirs[0]).all()


def one_of(codes: list[int]) -> list[str]:
    return [f"category {code:03}" for code in codes]


def requests(c: Catalogue) -> dict[str, tuple[Callable[[], Any], Callable[[], Any]]]:
    """NAMES -> (ours, numpy's)."""
    price, category, in_stock = osf.col("price"), osf.col("category"), osf.col("in_stock")
    few, many = [7, 70, 170], list(range(0, NUM_CATEGORIES, 7))
    wanted = np.isin(np.arange(NUM_CATEGORIES), many)
    denied = np.random.default_rng(1).integers(len(c.price), size=NUM_DENIED)
    mask = c.price < 5

    def where(expression: Any) -> Callable[[], Any]:
        return lambda: c.trie.filter(where=expression, columns=c.columns)

    def without_denied() -> Bits:
        allowed = np.ones(len(c.price), dtype=bool)
        allowed[denied] = False
        return packed(allowed)

    return {
        "price < 5": (where(price < 5), lambda: packed(c.price < 5)),
        "category in 3": (
            where(category.isin(one_of(few))),
            lambda: packed(np.isin(c.category, few)),
        ),
        "category in 43": (
            where(category.isin(one_of(many))),
            lambda: packed(wanted[c.category]),
        ),
        "price, category and stock": (
            where(price.between(10, 50) & category.isin(one_of(few)) & ~in_stock),
            lambda: packed(
                (c.price >= 10) & (c.price <= 50) & np.isin(c.category, few) & ~c.in_stock
            ),
        ),
        "mask": (lambda: c.trie.filter(allow=mask), lambda: packed(mask)),
        "deny 1000 ids": (lambda: c.trie.filter(deny=denied), without_denied),
    }


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("num_items", SIZES)
def test_filter(
    race: Callable[..., None],
    benchmark: Any,
    catalogue: Callable[[int], Catalogue],
    tiny: bool,
    num_items: int,
    name: str,
) -> None:
    if tiny and num_items > 10_000:
        pytest.skip("--tiny")
    ours, numpys = requests(catalogue(num_items))[name]
    benchmark.extra_info["num_items"] = num_items
    benchmark.extra_info["nbytes"] = ours().nbytes
    race({"native": ours, "numpy": numpys}, assert_same_items, repeats=5)
