"""The file of a SidTrie: what it holds, how it is written, and what loading refuses."""

from __future__ import annotations

import os
import resource
import stat
import struct
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onesearch_fast import TrieFormatError
from onesearch_fast.index import SidTrie
from onesearch_fast.testing.tries import random_codes

SIZES = (40, 30, 20)


def small_trie(**changes: Any) -> SidTrie:
    arguments = {"codes": random_codes(500, SIZES, skew=1.0), "level_sizes": SIZES} | changes
    return SidTrie.build(**arguments)


def test_every_altered_byte_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "sid_trie.bin"
    codes = random_codes(70, (4, 300), skew=1.0)
    SidTrie.build(codes, (4, 300), np.arange(70) * 5, np.zeros(70), keep_scores=True).save(path)
    sound = path.read_bytes()
    for at in range(len(sound)):
        path.write_bytes(sound[:at] + bytes([sound[at] ^ 4]) + sound[at + 1 :])
        with pytest.raises(TrieFormatError):
            SidTrie.load(path)


def test_truncated_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "sid_trie.bin"
    small_trie().save(path)
    content = path.read_bytes()
    begins = [struct.unpack_from("<Q", content, 128 + 32 * i)[0] for i in range(content[28])]
    for keep in (0, 1, 119, 120, *begins, *(begin + 1 for begin in begins), len(content) - 1):
        path.write_bytes(content[:keep])
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
    with pytest.raises(IsADirectoryError, match="existing file, got a folder; name the file that"):
        SidTrie.load(tmp_path)
    with pytest.raises(FileNotFoundError, match="in an existing folder, got none; make it first"):
        small_trie().save(tmp_path / "no_folder" / "sid_trie.bin")
    with pytest.raises(IsADirectoryError, match="got a folder; name a file within it"):
        small_trie().save(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_full_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "sid_trie.bin"
    SidTrie.build([[0, 0]], (2, 2)).save(path)
    old = path.read_bytes()
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(old) // 2, limit[1]))
    try:
        with pytest.raises(OSError, match="File too large") as failure:
            small_trie().save(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert failure.value.filename == str(path)
    assert [file.name for file in tmp_path.iterdir()] == ["sid_trie.bin"]
    assert path.read_bytes() == old


def test_a_folder_that_takes_no_files() -> None:
    with pytest.raises(OSError, match=r"sid_trie\.bin"):
        small_trie().save("/proc/self/sid_trie.bin")


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
