"""SidTrie against a dictionary, its file, and what it refuses."""

from __future__ import annotations

import os
import pickle
import stat
import struct
import threading
from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from onesearch_fast import TrieFormatError
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
    sizes = draw(st.lists(st.sampled_from([2, 3, 5, 256, 65536]), min_size=2, max_size=8))
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
    (TypeError, "codes: expected an array, got <class 'list'>", {"codes": [[1, 2, 3], [1]]}),
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
        SidTrie()
    with pytest.raises(TypeError):
        pickle.dumps(small_trie())


def test_every_altered_byte_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "sid_trie.bin"
    SidTrie.build([[0, 1], [1, 0], [1, 0]], (2, 2)).save(path)
    sound = path.read_bytes()
    for at in range(len(sound)):
        path.write_bytes(sound[:at] + bytes([sound[at] ^ 4]) + sound[at + 1 :])
        with pytest.raises(TrieFormatError):
            SidTrie.load(path)


@pytest.mark.parametrize("keep", [0, 1, 127, 128, 500, -64, -1])
def test_truncated_files_are_refused(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "sid_trie.bin"
    small_trie().save(path)
    path.write_bytes(path.read_bytes()[:keep])
    for verify in (True, False):
        with pytest.raises(TrieFormatError, match=r"SidTrie\.load: .*sid_trie\.bin: "):
            SidTrie.load(path, verify=verify)


def test_other_versions_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "sid_trie.bin"
    small_trie().save(path)
    path.write_bytes(path.read_bytes()[:8] + b"\x01" + path.read_bytes()[9:])
    with pytest.raises(TrieFormatError, match=r"version: expected 2, got 1; build .* again"):
        SidTrie.load(path)


def test_unverified_loading_tolerates_what_verification_finds(tmp_path: Path) -> None:
    path = tmp_path / "sid_trie.bin"
    small_trie().save(path)
    content = bytearray(path.read_bytes())
    content[1024:] = b"\xff" * (len(content) - 1024)  # all but the header and the first level
    path.write_bytes(content)
    trie = SidTrie.load(path, verify=False)
    assert not trie.contains(random_codes(500, SIZES, skew=1.0)).all()
    trie.items(np.arange(trie.num_sids))
    assert trie.item_codes(np.arange(-1, 501)).shape == (502, len(SIZES))
    with pytest.raises(TrieFormatError, match=r"SidTrie\.verify: section"):
        trie.verify()


def test_children_of_any_bytes_are_nodes(tmp_path: Path) -> None:
    path = tmp_path / "sid_trie.bin"
    sound = small_trie()
    for level in range(3):
        nodes = np.arange(sound.num_nodes(level))
        begin, end = sound.child_range(level, nodes)
        assert (begin[1:] == end[:-1]).all()
        assert (begin[0], end[-1]) == (0, sound.num_nodes(level + 1))
        outside = sound.child_range(level, [-1, sound.num_nodes(level), 2**40])
        assert np.stack(outside).tolist() == [[0, 0, 0], [0, 0, 0]]
    sound.save(path)
    content = bytearray(path.read_bytes())
    noise = np.random.default_rng(0).integers(0, 256, len(content), dtype=np.uint8)
    content[1024:] = noise[1024:].tobytes()
    path.write_bytes(content)
    trie = SidTrie.load(path, verify=False)
    for level in range(1, 3):
        begin, end = trie.child_range(level, np.arange(trie.num_nodes(level)))
        assert ((begin >= 0) & (begin <= end) & (end <= trie.num_nodes(level + 1))).all()


def test_names_of_files_are_any_bytes(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/caf\xe9"
    small_trie().save(path)
    assert SidTrie.load(path).num_items == SidTrie.load(os.fsdecode(path)).num_items == 500
    with pytest.raises(FileNotFoundError) as missing:
        SidTrie.load(path + b"_")
    assert missing.value.filename == os.fsdecode(path + b"_")
    Path(os.fsdecode(path)).write_bytes(b"too short")
    with pytest.raises(TrieFormatError, match="caf\udce9: file: expected"):
        SidTrie.load(path)
    for use in (small_trie().save, SidTrie.load):
        with pytest.raises(ValueError, match="path: expected a name without NUL"):
            use(f"{tmp_path}/trie.bin\0.backup")
    assert [file.name for file in tmp_path.iterdir()] == ["caf\udce9"]


def test_saving_to_a_link_writes_where_it_points(tmp_path: Path) -> None:
    (tmp_path / "latest.bin").symlink_to("v1.bin")
    small_trie().save(tmp_path / "latest.bin")
    assert (tmp_path / "latest.bin").is_symlink()
    assert SidTrie.load(tmp_path / "v1.bin").num_items == 500


def test_files_that_cannot_be_read_or_written(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"missing\.bin"):
        SidTrie.load(tmp_path / "missing.bin")
    with pytest.raises(IsADirectoryError):
        SidTrie.load(tmp_path)
    with pytest.raises(FileNotFoundError):
        small_trie().save(tmp_path / "no_folder" / "sid_trie.bin")
    with pytest.raises(OSError, match="directory"):
        small_trie().save(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_saving_replaces_the_file_that_a_loaded_trie_maps(tmp_path: Path) -> None:
    path = tmp_path / "sid_trie.bin"
    small_trie().save(path)
    loaded = SidTrie.load(path)
    SidTrie.build([[0, 0]], (2, 2)).save(path)
    loaded.verify()
    assert loaded.num_items == 500
    assert SidTrie.load(path).num_items == 1
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask


def test_threads_share_a_trie(tmp_path: Path) -> None:
    codes = random_codes(5000, SIZES, seed=5)
    trie = SidTrie.build(codes, SIZES)
    expected = trie.rank(codes)
    wrong = []

    def use(worker: int) -> None:
        for _ in range(10):
            trie.save(tmp_path / f"{worker}.bin")
            if not (SidTrie.load(tmp_path / f"{worker}.bin").rank(codes) == expected).all():
                wrong.append(worker)

    workers = [threading.Thread(target=use, args=(i,)) for i in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert wrong == []


def test_the_file_is_what_its_page_says(tmp_path: Path) -> None:
    path = tmp_path / "sid_trie.bin"
    sizes = (4, 30, 20, 300)
    trie = small_trie(level_sizes=sizes, codes=random_codes(500, sizes, skew=1.0))
    trie.save(path)
    content = path.read_bytes()
    kinds = [1, 3, 1, 3, 2, 3, 2, 3, 4, 5, 7, 8]
    levels = [0, 0, 1, 1, 2, 2, 3, 3, 1, 4, 0, 0]
    assert content[:8] == bytes.fromhex("4F 53 46 54 52 49 45 1A")
    header = (2, 0x01020304, len(content), 4, len(kinds), 500, 0)
    assert struct.unpack_from("<IIQIIII", content, 8) == header
    assert struct.unpack_from("<8I", content, 40) == (*sizes, 0, 0, 0, 0)
    num_nodes = [trie.num_nodes(level) for level in range(5)]
    assert struct.unpack_from("<9I", content, 72) == (*num_nodes, 0, 0, 0, 0)
    table = [struct.unpack_from("<IIQQQ", content, 120 + 32 * i) for i in range(len(kinds))]
    assert [kind for kind, *_ in table] == kinds
    assert [level for _, level, *_ in table] == levels
    end = 120 + 32 * len(kinds)
    assert struct.unpack_from("<I", content, 108) == (-(-end // 64) * 64,)
    for _, _, offset, size, _ in table:
        assert offset % 64 == 0
        assert content[end:offset] == bytes(offset - end)
        end = offset + size
    sections = {(row[0], row[1]): content[row[2] : row[2] + row[3]] for row in table}
    check_sections(trie, sections)


PARTITION_WORD = [("begins", "<u8"), ("before", "<u4"), ("hint", "<u4")]


def check_sections(trie: SidTrie, sections: dict[tuple[int, int], bytes]) -> None:
    def section(kind: int, level: int, dtype: Any) -> np.ndarray:
        return np.frombuffer(sections[kind, level], dtype)

    def check_packed(kind: int, level: int, begins: list[int]) -> None:
        words = section(kind, level, PARTITION_WORD)
        bits = np.unpackbits(words["begins"].copy().view(np.uint8), bitorder="little")
        assert np.flatnonzero(bits).tolist() == begins
        holders = np.array(begins) // 64
        assert words["before"].tolist() == [(holders < word).sum() for word in range(len(words))]
        hints = holders[::64].tolist()
        assert words["hint"].tolist() == hints + [len(words) - 1] * (len(words) - len(hints))

    assert (section(3, 0, "<u1") == trie.children(0, [0])[0]).all()
    assert (section(3, 3, "<u2") == trie.children(3, np.arange(trie.num_nodes(3)))[0]).all()
    assert section(1, 0, "<u4").tolist() == [0, trie.num_nodes(1)]
    for level in (2, 3):
        begin, end = trie.child_range(level, np.arange(trie.num_nodes(level)))
        check_packed(2, level, [*begin.tolist(), int(end[-1])])
    item_ids, offsets = trie.items(np.arange(trie.num_sids))
    check_packed(5, 4, offsets.tolist())
    assert (section(4, 1, "<u4") == offsets[[*trie.rank_range(1, range(4))[0], -1]]).all()
    assert (section(7, 0, "<u4") == item_ids).all()  # the default ids are row numbers
    assert (item_ids[section(8, 0, "<u4")] == np.arange(500)).all()
