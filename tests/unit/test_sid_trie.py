"""SidTrie against a dictionary, its file, and what it refuses."""

from __future__ import annotations

import pickle
from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from onesearch_fast.index import SidTrie
from onesearch_fast.testing.tries import random_codes

SIZES = (40, 30, 20)


def item_hash(item_id: int) -> int:
    """The hash that docs/trie_file_format.md gives."""
    mask = (1 << 64) - 1
    x = (item_id + 0x9E3779B97F4A7C15) & mask
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & mask
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & mask
    return x ^ (x >> 31)


@dataclass(frozen=True)
class Catalogue:
    level_sizes: tuple[int, ...]
    codes: np.ndarray
    item_ids: list[int]
    item_scores: list[float]

    def build(self) -> SidTrie:
        return SidTrie.build(self.codes, self.level_sizes, self.item_ids, self.item_scores)

    def items(self) -> dict[tuple[int, ...], list[int]]:
        """SIDs in rank order, each with its item ids in the order the trie must keep."""
        keyed = defaultdict(list)
        for code, item_id, score in zip(
            self.codes.tolist(), self.item_ids, self.item_scores, strict=True
        ):
            keyed[tuple(code)].append((-score, item_hash(item_id), item_id))
        return {code: [item[2] for item in sorted(keyed[code])] for code in sorted(keyed)}


@st.composite
def catalogues(draw: st.DrawFn) -> Catalogue:
    sizes = draw(st.lists(st.sampled_from([2, 3, 5, 256, 257, 65536]), min_size=2, max_size=8))
    num_items = draw(st.integers(1, 30))
    # Few values a level, so that prefixes and whole SIDs are shared.
    values = [draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=3)) for size in sizes]
    codes = [[draw(st.sampled_from(choice)) for choice in values] for _ in range(num_items)]
    ids = st.lists(st.integers(0, 2**63 - 1), min_size=num_items, max_size=num_items, unique=True)
    scores = st.lists(st.sampled_from([-1.5, 0.0, 2.0]), min_size=num_items, max_size=num_items)
    return Catalogue(tuple(sizes), np.array(codes), draw(ids), draw(scores))


def small_trie(**changes: Any) -> SidTrie:
    arguments = {"codes": random_codes(500, SIZES, skew=1.0), "level_sizes": SIZES} | changes
    return SidTrie.build(**arguments)


def children(trie: SidTrie, level: int, node: int) -> dict[int, int]:
    (begin,), (end,) = trie.child_range(level, [node])
    return dict(zip(trie.children(level, [node])[0].tolist(), range(begin, end), strict=True))


@given(catalogues())
def test_the_trie_is_the_dictionary(catalogue: Catalogue) -> None:
    trie, expected = catalogue.build(), catalogue.items()
    assert (trie.num_items, trie.num_sids) == (len(catalogue.item_ids), len(expected))
    assert (trie.num_levels, trie.level_sizes) == (
        len(catalogue.level_sizes),
        catalogue.level_sizes,
    )
    trie.verify()
    ranks = np.arange(trie.num_sids)
    assert trie.codes(ranks).tolist() == [list(code) for code in expected]
    assert trie.rank(list(expected)).tolist() == ranks.tolist()
    item_ids, offsets = trie.items(ranks)
    assert trie.item_codes(catalogue.item_ids).tolist() == catalogue.codes.tolist()
    listed = [item_ids[a:b].tolist() for a, b in pairwise(offsets)]
    assert listed == list(expected.values())


@given(catalogues())
def test_nodes_are_prefixes(catalogue: Catalogue) -> None:
    trie, expected = catalogue.build(), list(catalogue.items())
    assert trie.num_nodes(0) == 1
    assert trie.num_nodes(trie.num_levels) == trie.num_sids
    for level in range(trie.num_levels):
        prefixes = sorted({code[:level] for code in expected})
        assert trie.num_nodes(level) == len(prefixes)
        for node, prefix in enumerate(prefixes):
            below = [code for code in expected if code[:level] == prefix]
            tokens = sorted({code[level] for code in below})
            assert list(children(trie, level, node)) == tokens
            begin, end = trie.rank_range(level, [node])
            first = expected.index(below[0])
            assert (begin[0], end[0]) == (first, first + len(below))


@given(catalogues(), st.data())
def test_contains_exactly_the_catalogue(catalogue: Catalogue, data: st.DataObject) -> None:
    trie, expected = catalogue.build(), catalogue.items()
    code = st.one_of(*(st.just(list(known)) for known in expected)) | st.lists(
        st.integers(-2, 70000), min_size=trie.num_levels, max_size=trie.num_levels
    )
    queries = data.draw(st.lists(code, min_size=1, max_size=20))
    found = trie.contains(queries)
    assert found.dtype == np.bool_
    assert found.tolist() == [tuple(query) in expected for query in queries]
    assert ((trie.rank(queries) >= 0) == found).all()


@given(catalogues())
def test_a_file_brings_the_same_trie_back(
    tmp_path_factory: pytest.TempPathFactory, catalogue: Catalogue
) -> None:
    path = tmp_path_factory.mktemp("trie") / "sid_trie.bin"
    trie = catalogue.build()
    trie.save(path)
    assert path.stat().st_size == trie.nbytes
    for verify in (True, False):
        loaded = SidTrie.load(path, verify=verify)
        loaded.save(path.with_name("again.bin"))
        assert path.with_name("again.bin").read_bytes() == path.read_bytes()
        ranks = np.arange(trie.num_sids)
        assert (loaded.codes(ranks) == trie.codes(ranks)).all()
        assert (loaded.items(ranks)[0] == trie.items(ranks)[0]).all()


@given(catalogues())
def test_items_below_nodes(catalogue: Catalogue) -> None:
    trie, expected = catalogue.build(), catalogue.items()
    for level in range(trie.num_levels + 1):
        prefixes = sorted({code[:level] for code in expected})
        counts = [
            sum(len(ids) for code, ids in expected.items() if code[:level] == prefix)
            for prefix in prefixes
        ]
        nodes = np.arange(len(prefixes))
        assert trie.count_items(level, nodes).tolist() == counts
        begin, end = trie.item_range(level, nodes)
        assert end.tolist() == np.cumsum(counts).tolist()
        assert (end - begin).tolist() == counts
        assert trie.count_items(level, [-1, len(prefixes), 2**40]).tolist() == [0, 0, 0]


@given(catalogues(), st.data())
def test_children_by_token(catalogue: Catalogue, data: st.DataObject) -> None:
    trie, expected = catalogue.build(), list(catalogue.items())
    level = data.draw(st.integers(0, trie.num_levels - 1))
    nodes = data.draw(st.lists(st.integers(-1, trie.num_nodes(level)), max_size=10))
    prefixes = sorted({code[:level] for code in expected})
    longer = sorted({code[: level + 1] for code in expected})
    lists = [
        [
            code[level]
            for code in longer
            if 0 <= node < len(prefixes) and code[:level] == prefixes[node]
        ]
        for node in nodes
    ]
    tokens, offsets = trie.children(level, nodes)
    assert [tokens[a:b].tolist() for a, b in pairwise(offsets)] == lists
    for node, known in zip(nodes, lists, strict=True):
        asked = [*known, -1, 70000, data.draw(st.integers(0, 65535))]
        wanted = [
            longer.index((*prefixes[node], token)) if token in known else -1 for token in asked
        ]
        assert trie.child(level, [node] * len(asked), asked).tolist() == wanted


@given(catalogues(), st.data())
def test_items_by_id(catalogue: Catalogue, data: st.DataObject) -> None:
    trie, expected = catalogue.build(), catalogue.items()
    codes = list(expected)
    rank_of = {item_id: codes.index(code) for code, ids in expected.items() for item_id in ids}
    asked = data.draw(
        st.lists(st.sampled_from(catalogue.item_ids) | st.integers(-(2**63), 2**63 - 1))
    )
    ranks = [rank_of.get(item_id, -1) for item_id in asked]
    assert trie.rank_of(asked).tolist() == ranks
    sids = [[-1] * trie.num_levels if rank < 0 else list(codes[rank]) for rank in ranks]
    assert trie.item_codes(asked).tolist() == sids


HALF = np.arange(1500)


@pytest.mark.parametrize(
    "ids",
    [
        np.arange(3000),
        np.arange(3000) * 1000 + 5,
        np.concatenate([HALF, 2**60 + HALF**2]),
        np.concatenate([HALF, 2**63 - 1500 + HALF]),
        np.random.default_rng(1).permutation(2**20)[:3000] ** 3,
    ],
    ids=["dense", "even", "clustered", "extreme", "cubes"],
)
def test_ids_are_found_however_they_lie(ids: np.ndarray) -> None:
    rng = np.random.default_rng(2)
    codes, ids = random_codes(3000, SIZES, seed=1), rng.permutation(ids)
    trie = SidTrie.build(codes, SIZES, ids)
    assert (trie.rank_of(ids) == trie.rank(codes)).all()
    near = [ids[ids < 2**63 - 1] + 1, ids - 1, rng.integers(0, 2**62, 1000)]
    absent = np.setdiff1d(np.concatenate(near), ids)
    assert (trie.rank_of(absent) == -1).all()


def uneven_codes(num_items: int) -> np.ndarray:
    """Many nodes of one child beside a few of thousands, in levels of one and of two bytes."""
    rng = np.random.default_rng(4)
    codes = np.stack([rng.integers(0, size, num_items) for size in (3, 60000, 256, 300)], axis=1)
    codes[: num_items // 2, :2] = 1, 7
    codes[num_items // 2 : num_items // 2 + 500] = 2, 59999, 255, 299
    return codes


def test_many_nodes_of_uneven_size() -> None:
    codes, sizes = uneven_codes(40_000), (3, 60000, 256, 300)
    trie = SidTrie.build(codes, sizes)
    trie.verify()
    for level in range(5):
        below = codes[:, :level] if level else np.zeros((len(codes), 1), dtype=int)
        prefixes, counts = np.unique(below, axis=0, return_counts=True)
        nodes = np.arange(len(prefixes))
        assert trie.num_nodes(level) == len(prefixes)
        assert (trie.count_items(level, nodes) == counts).all()
        if level == 4:
            break
        longer = np.unique(codes[:, : level + 1], axis=0)
        parents = np.unique(
            longer[:, :level] if level else longer[:, :1] * 0, axis=0, return_counts=True
        )
        tokens, offsets = trie.children(level, nodes)
        assert (tokens == longer[:, level]).all()
        assert (np.diff(offsets) == parents[1]).all()
        begin, end = trie.child_range(level, nodes)
        assert (begin == offsets[:-1]).all()
        assert (end == offsets[1:]).all()
    sids = np.unique(codes, axis=0)
    assert (trie.codes(np.arange(len(sids))) == sids).all()
    assert (trie.rank(sids) == np.arange(len(sids))).all()
    assert (trie.rank_of(np.arange(len(codes))) == trie.rank(codes)).all()


def test_samples_follow_items_or_sids() -> None:
    codes = np.array([[0, 0]] * 900 + [[1, token] for token in range(100)])
    trie = SidTrie.build(codes, (2, 100))
    by_item, by_sid = trie.sample(5000, seed=3), trie.sample(5000, seed=3, by="sid")
    assert abs((by_item == 0).mean() - 0.9) < 0.02
    assert abs((by_sid == 0).mean() - 1 / 101) < 0.01
    assert set(by_sid.tolist()) == set(range(101))
    assert (trie.sample(5000, seed=3) == by_item).all()
    assert not (trie.sample(5000, seed=4) == by_item).all()
    assert trie.sample(0, seed=0).shape == (0,)


@given(catalogues(), st.sampled_from([0.0, 0.3, 0.5, 1.0]), st.integers(0, 99))
def test_statistics_of_nodes(catalogue: Catalogue, q: float, seed: int) -> None:
    values = np.random.default_rng(seed).normal(size=len(catalogue.item_ids)).astype(np.float32)
    trie = catalogue.build()
    functions = {
        "count": len,
        "sum": np.sum,
        "mean": np.mean,
        "max": np.max,
        "quantile": lambda below: np.quantile(below, q),
    }
    for level in range(trie.num_levels + 1):
        below = defaultdict(list)
        for code, value in zip(catalogue.codes.tolist(), values.tolist(), strict=True):
            below[tuple(code[:level])].append(value)
        for kind, function in functions.items():
            expected = [function(below[prefix]) for prefix in sorted(below)]
            got = trie.node_statistic(level, kind, values, q)
            assert got.dtype == np.float32
            np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-6)


def test_scores_are_kept_when_asked() -> None:
    codes, scores = random_codes(500, SIZES, skew=1.0), np.random.default_rng(5).normal(size=500)
    plain = small_trie(codes=codes, item_scores=scores)
    kept = small_trie(codes=codes, item_scores=scores, keep_scores=True)
    kept.verify()
    for kind in ("sum", "mean", "max", "quantile"):
        stored = kept.node_statistic(2, kind)
        assert (stored == plain.node_statistic(2, kind, scores.astype(np.float32))).all()
    assert (kept.item_scores() == scores.astype(np.float32)).all()
    assert plain.item_scores() is None
    with pytest.raises(ValueError, match=r"values: expected .* keep_scores=True"):
        plain.node_statistic(2, "sum")
    assert (plain.node_statistic(3, "count") == plain.count_items(3, range(plain.num_sids))).all()
    ranks = np.arange(kept.num_sids)
    assert (kept.items(ranks)[0] == plain.items(ranks)[0]).all()


def test_bytes_are_broken_down() -> None:
    codes = random_codes(500, (*SIZES, 300), skew=1.0)
    trie = SidTrie.build(codes, (*SIZES, 300))
    parts = trie.section_bytes()
    assert parts.total == trie.nbytes
    assert (parts.item_ids, parts.item_scores) == (0, 0)
    assert parts.item_rows == parts.items_by_id == 2048  # 500 * 4, to the next multiple of 64
    widths = (1, 1, 1, 2)
    for level, width in enumerate(widths):
        assert 0 <= parts.tokens[level] - width * trie.num_nodes(level + 1) < 64
    assert len(parts.children) == 4
    assert parts.items[0] == 0 < parts.items[4]
    whole = SidTrie.build(codes, (*SIZES, 300), np.arange(500) * 3, np.ones(500), keep_scores=True)
    assert whole.section_bytes().item_ids == 4032
    assert whole.nbytes == parts.total + 4032 + 2048 + 64  # two more entries of the table


def test_what_follows_from_counts_is_not_stored() -> None:
    distinct = SidTrie.build([[row, row] for row in range(300)], (300, 300)).section_bytes()
    assert distinct.children[1] == 0  # every node has one child
    assert distinct.items == (0, 0, 0)  # every SID has one item


@pytest.mark.parametrize("row_order", [1, -1])
def test_the_order_of_rows_changes_nothing_but_rows(row_order: int) -> None:
    codes = random_codes(300, (6, 5), seed=3)
    item_ids = np.arange(300) * 31 + 7
    trie = SidTrie.build(codes[::row_order], (6, 5), item_ids[::row_order])
    reference = SidTrie.build(codes, (6, 5), item_ids)
    ranks = np.arange(reference.num_sids)
    assert (trie.items(ranks)[0] == reference.items(ranks)[0]).all()


def test_equal_priors_do_not_favour_early_rows() -> None:
    codes = np.zeros((1000, 2), dtype=np.int64)
    first_half = SidTrie.build(codes, (2, 2)).items([0])[0][:500] < 500
    assert 200 < first_half.sum() < 300


@pytest.mark.parametrize(
    "dtype", [np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64]
)
def test_every_integer_dtype_and_stride(dtype: type) -> None:
    codes = random_codes(500, SIZES).astype(dtype)
    reference = small_trie(codes=codes.astype(np.int64))
    spread = np.full((1000, 6), 99, dtype=dtype)
    spread[::2, ::2] = codes
    for form in (codes, np.asfortranarray(codes), spread[::2, ::2], codes[::-1][::-1]):
        trie = small_trie(codes=form)
        assert trie.num_sids == reference.num_sids
        assert trie.contains(form).all()


@pytest.mark.parametrize("dtype", [torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8])
def test_torch_codes(dtype: torch.dtype) -> None:
    codes = random_codes(500, SIZES)
    tensor = torch.from_numpy(codes).to(dtype)
    trie = small_trie(codes=tensor.t().contiguous().t(), item_ids=torch.arange(500))
    assert trie.contains(tensor).all()
    assert (trie.rank(tensor) == small_trie(codes=codes).rank(codes)).all()


@pytest.mark.parametrize(
    "arrow",
    [
        lambda codes: pa.FixedSizeListArray.from_arrays(pa.array(codes.ravel()), 3),
        lambda codes: pa.array(codes.tolist(), type=pa.list_(pa.uint16())),
        lambda codes: pa.chunked_array(
            [pa.array(part.tolist()) for part in (codes[:9], codes[9:])]
        ),
        lambda codes: pa.table({str(level): codes[:, level] for level in range(3)}),
        lambda codes: pa.array(np.vstack([codes[:7], codes]).tolist()).slice(7),
        lambda codes: pa.table(
            {str(i): pa.array(codes[:, i]).dictionary_encode() for i in (0, 1, 2)}
        ),
    ],
)
def test_arrow_codes(arrow: Any) -> None:
    codes = random_codes(500, SIZES)
    ids = np.arange(500) * 3
    got = small_trie(codes=arrow(codes), item_ids=pa.array(ids), item_scores=pa.array(ids / 2))
    want = small_trie(codes=codes, item_ids=ids, item_scores=ids / 2)
    ranks = np.arange(want.num_sids)
    assert (got.codes(ranks) == want.codes(ranks)).all()
    assert (got.items(ranks)[0] == want.items(ranks)[0]).all()


@pytest.mark.parametrize("length", [-1, 3])
def test_no_arrow_codes(length: int) -> None:
    none = pa.array([], pa.list_(pa.int32(), length))
    assert small_trie().rank(none).tolist() == []
    assert small_trie().contains(pa.chunked_array([none, none])).tolist() == []
    with pytest.raises(ValueError, match=r"rank: codes: expected shape \[n, 3\], got \[2, 0\]"):
        small_trie().rank(pa.array([[], []], pa.list_(pa.int32())))


def test_byte_order_and_read_only_memory_do_not_matter() -> None:
    codes = random_codes(500, SIZES)
    codes.flags.writeable = False
    assert small_trie(codes=codes).contains(codes).all()
    assert small_trie(codes=codes.astype(">i4")).contains(codes).all()


def test_memory_need_not_be_aligned() -> None:
    codes = random_codes(200, SIZES, skew=1.0)
    trie = SidTrie.build(codes, SIZES)
    records = np.zeros(200, dtype=[("flag", "i1"), ("sid", "i4", (3,)), ("prior", "f8")])
    records["sid"], records["prior"] = codes, np.arange(200)
    assert (trie.rank(records["sid"]) == trie.rank(codes)).all()
    ranks = np.arange(trie.num_sids)
    got = SidTrie.build(records["sid"], SIZES, item_scores=records["prior"]).items(ranks)
    want = SidTrie.build(codes, SIZES, item_scores=np.arange(200)).items(ranks)
    assert (got[0] == want[0]).all()


def test_rank_minus_one_has_no_code_and_no_items() -> None:
    trie = small_trie()
    assert trie.codes([-1, 0])[0].tolist() == [-1, -1, -1]
    item_ids, offsets = trie.items([-1, 0, -1])
    assert offsets.tolist() == [0, 0, len(item_ids), len(item_ids)]


def test_empty_queries_have_empty_answers() -> None:
    trie = small_trie()
    assert trie.rank(np.empty((0, 3), dtype=np.int32)).shape == (0,)
    assert trie.codes([]).shape == (0, 3)
    assert trie.items([])[1].tolist() == [0]
    assert trie.rank_range(1, [])[0].shape == (0,)


def test_nodes_that_do_not_exist_have_an_empty_range() -> None:
    trie = small_trie()
    begin, end = trie.rank_range(1, [-1, trie.num_nodes(1), 2**40])
    assert begin.tolist() == end.tolist() == [0, 0, 0]


def test_a_trie_is_described() -> None:
    assert repr(small_trie()).startswith("SidTrie(500 items, ")


BAD_BUILDS = [
    (ValueError, "1 to 2^31 - 1 items, got 0 items", {"codes": np.zeros((0, 3), dtype=int)}),
    (ValueError, r"codes: expected shape \[num_items, 3\], got \[5\]", {"codes": np.zeros(5, int)}),
    (ValueError, "got [5, 2]", {"codes": np.zeros((5, 2), dtype=int)}),
    (TypeError, "codes: expected an integer dtype, got float64", {"codes": np.zeros((5, 3))}),
    (TypeError, "got bool", {"codes": np.zeros((5, 3), dtype=bool)}),
    (TypeError, "got object", {"codes": np.array([[2**70, 0, 0]])}),
    (ValueError, "[0, 40) at level 0, got 40 at row 1", {"codes": [[0, 0, 0], [40, 0, 99]]}),
    (ValueError, "at level 2, got -1 at row 0", {"codes": [[0, 0, -1]]}),
    (ValueError, "got 18446744073709551615", {"codes": np.array([[0, 0, 2**64 - 1]], np.uint64)}),
    (
        ValueError,
        "level_sizes: expected 2 to 8 levels, got 1",
        {"codes": [[0]], "level_sizes": [4]},
    ),
    (ValueError, "2 to 8 levels, got 9", {"codes": [[0] * 9], "level_sizes": [4] * 9}),
    (ValueError, "sizes from 2 to 65536, got 1", {"codes": [[0, 0]], "level_sizes": [4, 1]}),
    (
        ValueError,
        "sizes from 2 to 65536, got 65537",
        {"codes": [[0, 0]], "level_sizes": [4, 65537]},
    ),
    (ValueError, "item_ids: expected shape [500], got [3]", {"item_ids": [1, 2, 3]}),
    (ValueError, "distinct ids, got 7 at rows 7 and 8", {"item_ids": [*range(8), *range(7, 499)]}),
    (ValueError, "ids of at least 0, got -1 at row 0", {"item_ids": np.arange(500) - 1}),
    (
        TypeError,
        "item_ids: expected an integer dtype",
        {"item_ids": [f"item-{i}" for i in range(500)]},
    ),
    (ValueError, "integers below 2^63", {"item_ids": np.arange(500, dtype=np.uint64) + 2**63}),
    (ValueError, "item_scores: expected shape [500], got [2]", {"item_scores": [0.5, 1.5]}),
    (ValueError, "numbers, got NaN at row 0", {"item_scores": [float("nan")] * 500}),
    (TypeError, "item_scores: expected a real dtype, got complex", {"item_scores": [1j] * 500}),
    (TypeError, "item_scores: expected a real dtype", {"item_scores": ["1.5"] * 500}),
    (
        TypeError,
        "item_scores: expected an array",
        {"item_scores": torch.ones(500, requires_grad=True)},
    ),
    (ValueError, "item_scores to keep, got None; give item_scores", {"keep_scores": True}),
    (
        ValueError,
        "item_scores: expected finite float32 numbers, got inf at row 0",
        {"item_scores": [float("inf")] * 500, "keep_scores": True},
    ),
    (TypeError, "codes: expected an array, got <class 'list'>", {"codes": [[1, 2, 3], [1]]}),
    (TypeError, "its lists have several lengths", {"codes": pa.array([[1, 2, 3], [1]])}),
    (TypeError, "it has 1 nulls", {"codes": pa.array([[1, 2, 3], None])}),
    (TypeError, "it has 1 nulls", {"codes": pa.array([[1, 2, None]])}),
    (
        TypeError,
        "got object",
        {"item_ids": pa.array([str(i) for i in range(500)]).dictionary_encode()},
    ),
    (TypeError, "it has 499 nulls", {"item_ids": pa.array([7] + [None] * 499)}),
    (TypeError, "level_sizes: expected an integer dtype", {"level_sizes": (40.9, 30, 20)}),
    (TypeError, "level_sizes: expected an integer dtype", {"level_sizes": (2**70, 30, 20)}),
]


@pytest.mark.parametrize(("kind", "message", "changes"), BAD_BUILDS)
def test_bad_catalogues_are_refused(
    kind: type[Exception], message: str, changes: dict[str, Any]
) -> None:
    with pytest.raises(kind) as error:
        small_trie(**changes)
    assert str(error.value).startswith("SidTrie.build: ")
    assert message.replace("\\", "") in str(error.value)


BAD_QUERIES = [
    ("contains", [[[1, 2]]], ValueError, "SidTrie.contains: codes: expected shape [n, 3]"),
    ("rank", [[1, 2, 3]], ValueError, "SidTrie.rank: codes: expected shape [n, 3], got [3]"),
    ("rank", [[[0.5, 1, 2]]], TypeError, "an integer dtype, got float64"),
    ("codes", [[-2]], ValueError, "SidTrie.codes: rank: expected ranks in [0, "),
    ("codes", [["a"]], TypeError, "SidTrie.codes: rank: expected an integer dtype"),
    ("items", [[10**9]], ValueError, "SidTrie.items: rank: expected ranks in [0, "),
    ("items", [[[0]]], ValueError, "SidTrie.items: rank: expected shape [n], got [1, 1]"),
    ("rank_range", [4, [0]], ValueError, "level: expected 0 to 3, got 4"),
    ("item_range", [4, [0]], ValueError, "level: expected 0 to 3, got 4"),
    ("count_items", [-1, [0]], ValueError, "level: expected 0 to 3, got -1"),
    ("count_items", [0, [0.5]], TypeError, "SidTrie.item_range: nodes: expected an integer dtype"),
    ("rank_of", [["x"]], TypeError, "SidTrie.rank_of: item_ids: expected an integer dtype"),
    ("rank_of", [np.array([2**63], np.uint64)], ValueError, "integers below 2^63"),
    ("sample", [-1, 0], ValueError, "SidTrie.sample: n: expected at least 0, got -1"),
    ("sample", [1, 0, "node"], ValueError, 'by: expected "item" or "sid", got node'),
    ("node_statistic", [1, "median"], ValueError, "kind: expected one of count, sum,"),
    ("node_statistic", [1, "sum", [1.0]], ValueError, "values: expected shape [500], got [1]"),
    ("node_statistic", [1, "sum", [np.inf] * 500], ValueError, "got inf at row 0"),
    ("node_statistic", [1, "sum", [1e40] * 500], ValueError, "finite float32 numbers, got 1e+40"),
    ("node_statistic", [4, "count"], ValueError, "level: expected 0 to 3, got 4"),
    ("node_statistic", [1, "quantile", [0] * 500, 1.5], ValueError, "q: expected 0 to 1, got 1.5"),
    ("num_nodes", [-1], ValueError, "level: expected 0 to 3, got -1"),
    ("child_range", [3, [0]], ValueError, "level: expected 0 to 2, got 3"),
    ("children", [-1, [0]], ValueError, "level: expected 0 to 2, got -1"),
    ("child", [3, [0], [0]], ValueError, "level: expected 0 to 2, got 3"),
    ("child", [0, [0], [0, 1]], ValueError, "tokens: expected shape [1], got [2]"),
]


@pytest.mark.parametrize(("method", "arguments", "kind", "message"), BAD_QUERIES)
def test_bad_queries_are_refused(
    method: str, arguments: list[Any], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind) as error:
        getattr(small_trie(), method)(*arguments)
    assert message in str(error.value)


def test_a_trie_is_made_by_build_or_load_and_not_pickled() -> None:
    with pytest.raises(TypeError, match=r"SidTrie\.build"):
        SidTrie([[0, 1]], (2, 2))  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        pickle.dumps(small_trie())
