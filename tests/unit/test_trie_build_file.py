"""SidTrie.build_file against SidTrie.build: equal bytes, bounded memory, nothing left behind."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from onesearch_fast.index import SidTrie
from onesearch_fast.testing.tries import random_codes

SIZES = (40, 30, 20)
Chunk = tuple[Any, Any, Any]


def in_memory(path: Path, chunks: list[Chunk], sizes: tuple[int, ...], **options: Any) -> bytes:
    columns = [
        None if part[0] is None else np.concatenate([np.asarray(p) for p in part])
        for part in zip(*chunks, strict=True)
    ]
    SidTrie.build(columns[0], sizes, columns[1], columns[2], **options).save(path)
    return path.read_bytes()


def assert_same_file(
    folder: Path, chunks: list[Chunk], sizes: tuple[int, ...], **options: Any
) -> None:
    trie = SidTrie.build_file(
        folder / "trie.bin", iter(chunks), sizes, max_memory_bytes=1 << 25, **options
    )
    trie.verify()
    whole = in_memory(folder / "whole.bin", chunks, sizes, **options)
    assert (folder / "trie.bin").read_bytes() == whole
    assert {path.name for path in folder.iterdir()} == {"trie.bin", "whole.bin"}


@st.composite
def chunked_catalogues(draw: st.DrawFn) -> tuple[list[Chunk], tuple[int, ...]]:
    sizes = tuple(draw(st.lists(st.sampled_from([2, 5, 256, 65536]), min_size=2, max_size=8)))
    cuts = draw(st.lists(st.integers(0, 30), min_size=1, max_size=5).filter(any))
    num_items = sum(cuts)
    seed = draw(st.integers(0, 2**32 - 1))
    codes = random_codes(num_items, sizes, seed=seed, skew=draw(st.sampled_from([0.0, 3.0])))
    rng = np.random.default_rng(seed)
    ids = rng.permutation(num_items) * 3 if draw(st.booleans()) else None
    scores = rng.integers(0, 3, num_items) / 2 if draw(st.booleans()) else None
    ends = np.cumsum(cuts)
    return [
        (
            codes[end - cut : end],
            None if ids is None else ids[end - cut : end],
            None if scores is None else scores[end - cut : end],
        )
        for cut, end in zip(cuts, ends, strict=True)
    ], sizes


@given(chunked_catalogues())
@settings(max_examples=50)
def test_chunks_give_the_file_of_the_whole(
    tmp_path_factory: pytest.TempPathFactory, catalogue: tuple[list[Chunk], tuple[int, ...]]
) -> None:
    chunks, sizes = catalogue
    assert_same_file(tmp_path_factory.mktemp("build"), chunks, sizes)


@pytest.mark.parametrize("sizes", [(2048, 512, 256), (65536,) * 5, (3, 3)])
@pytest.mark.parametrize("with_columns", [False, True])
def test_batches_are_merged(tmp_path: Path, sizes: tuple[int, ...], with_columns: bool) -> None:
    # 32 MiB hold fewer than 200,000 rows, so these are three batches or more.
    num_items = 500_000
    codes = random_codes(num_items, sizes, skew=0.5).astype(np.uint16)
    rng = np.random.default_rng(1)
    ids = rng.permutation(num_items) * 7 if with_columns else None
    scores = rng.integers(0, 4, num_items) / 2 if with_columns else None
    chunks = [
        (
            codes[at : at + 90_000],
            None if ids is None else ids[at : at + 90_000],
            None if scores is None else scores[at : at + 90_000],
        )
        for at in range(0, num_items, 90_000)
    ]
    assert_same_file(tmp_path, chunks, sizes, keep_scores=with_columns)


def test_one_sid_of_many_batches(tmp_path: Path) -> None:
    codes = np.zeros((100_000, 2), dtype=np.uint8)
    assert_same_file(tmp_path, [(codes, None, None)] * 5, (2, 2))


def test_chunks_of_any_library(tmp_path: Path) -> None:
    codes = random_codes(300, SIZES)
    ids = np.arange(300) * 5
    scores = np.linspace(-1, 1, 300)
    lists = pa.FixedSizeListArray.from_arrays(pa.array(codes[200:].ravel()), 3)
    chunks = [
        (codes[:100], ids[:100], scores[:100]),
        (
            torch.from_numpy(codes[100:200]),
            torch.from_numpy(ids[100:200]),
            scores[100:200].tolist(),
        ),
        (lists, pa.array(ids[200:]), pa.chunked_array([scores[200:250], scores[250:]])),
    ]
    trie = SidTrie.build_file(tmp_path / "trie.bin", chunks, SIZES)
    SidTrie.build(codes, SIZES, ids, scores).save(tmp_path / "whole.bin")
    assert trie.num_items == 300
    assert (tmp_path / "trie.bin").read_bytes() == (tmp_path / "whole.bin").read_bytes()


def test_progress_counts_the_rows_read(tmp_path: Path) -> None:
    chunks = [(random_codes(n, SIZES), None, None) for n in (10, 0, 25)]
    seen: list[int] = []
    SidTrie.build_file(tmp_path / "trie.bin", chunks, SIZES, progress=seen.append)
    assert seen == [10, 10, 35]


CODES = random_codes(20, SIZES)
BAD_CHUNKS: list[tuple[type[Exception], str, list[Any], dict[str, Any]]] = [
    (ValueError, "1 to 2^31 - 1 items, got 0 items", [], {}),
    (ValueError, "got 0 items", [(CODES[:0], None, None)], {}),
    (ValueError, "got 40 at row 20", [(CODES, None, None), ([[40, 0, 0]], None, None)], {}),
    (ValueError, "got -1 at row 21", [(CODES, None, None), ([[0] * 3, [-1] * 3], None, None)], {}),
    (ValueError, "shape [num_items, 3], got [20, 2]", [(CODES[:, :2], None, None)], {}),
    (TypeError, "integer dtype, got float64", [(CODES / 2, None, None)], {}),
    (ValueError, "item_ids: expected shape [20]", [(CODES, [1, 2], None)], {}),
    (ValueError, "item_ids: expected in every chunk or in none, got none in a later chunk",
     [(CODES, range(20), None), (CODES, None, None)], {}),
    (ValueError, "item_scores: expected in every chunk or in none, got none in the first chunk",
     [(CODES, None, None), (CODES, None, np.ones(20))], {}),
    (ValueError, "distinct ids, got 7 at rows 7 and 27",
     [(CODES, range(20), None), (CODES, [*range(100, 107), 7, *range(108, 120)], None)], {}),
    (ValueError, "ids of at least 0, got -1 at row 20",
     [(CODES, range(20), None), ([[0, 0, 0]], [-1], None)], {}),
    (ValueError, "NaN at row 20",
     [(CODES, None, np.ones(20)), ([[0, 0, 0]], None, [np.nan])], {}),
    (ValueError, "keep_scores: expected item_scores to keep", [(CODES, None, None)],
     {"keep_scores": True}),
    (ValueError, "chunks: expected tuples (codes, item_ids, item_scores)", [CODES], {}),
    (ValueError, "at least 32 MiB, got 1000", [(CODES, None, None)], {"max_memory_bytes": 1000}),
    (ValueError, "level_sizes: expected 2 to 8 levels", [(CODES, None, None)],
     {"level_sizes": (4,)}),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "message", "chunks", "changes"), BAD_CHUNKS)
def test_bad_chunks_are_refused_and_leave_nothing(
    tmp_path: Path,
    kind: type[Exception],
    message: str,
    chunks: list[Any],
    changes: dict[str, Any],
) -> None:
    path = tmp_path / "trie.bin"
    path.write_bytes(b"before")
    arguments: dict[str, Any] = {"level_sizes": SIZES} | changes
    with pytest.raises(kind) as error:
        SidTrie.build_file(path, chunks, **arguments)
    assert str(error.value).startswith("SidTrie.build_file: ")
    assert message in str(error.value)
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [b"before"]


def test_what_the_chunks_raise_comes_through(tmp_path: Path) -> None:
    def chunks() -> Iterator[Chunk]:
        yield CODES, None, None
        raise KeyError("no more")

    with pytest.raises(KeyError, match="no more"):
        SidTrie.build_file(tmp_path / "trie.bin", chunks(), SIZES)
    assert not list(tmp_path.iterdir())


def test_folders_that_cannot_be_written(tmp_path: Path) -> None:
    chunk = (CODES, None, None)
    with pytest.raises(FileNotFoundError):
        SidTrie.build_file(tmp_path / "no" / "trie.bin", [chunk], SIZES)
    with pytest.raises(FileNotFoundError):
        SidTrie.build_file(tmp_path / "trie.bin", [chunk], SIZES, scratch_folder=tmp_path / "no")
    assert not list(tmp_path.iterdir())


def run_python(script: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script, str(folder)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


KILLED = """
import os, sys, numpy as np
from onesearch_fast.index import SidTrie
def chunks():
    yield np.zeros((500_000, 2), dtype=np.uint8), None, None
    os.kill(os.getpid(), 9)
SidTrie.build_file(sys.argv[1] + "/trie.bin", chunks(), (2, 2), max_memory_bytes=1 << 25)
"""


def test_what_a_killed_build_left_is_removed_by_the_next(tmp_path: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert left.name.startswith("trie.bin.")
    assert_same_file(tmp_path, [(CODES, None, None)], SIZES)


FULL_DISK = """
import errno, resource, sys, numpy as np
from onesearch_fast.index import SidTrie
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))
codes = np.zeros((100_000, 2), dtype=np.uint8)
try:
    SidTrie.build_file(sys.argv[1] + "/trie.bin", [(codes, None, None)], (2, 2))
except OSError as error:
    print(errno.errorcode[error.errno])
"""


def test_a_full_disk_is_an_error_and_not_a_crash(tmp_path: Path) -> None:
    assert run_python(FULL_DISK, tmp_path) == "EFBIG"
    assert not list(tmp_path.iterdir())


BOUNDED_MEMORY = """
import resource, sys, numpy as np
from onesearch_fast import runtime
from onesearch_fast.index import SidTrie
runtime.set_num_threads(1)
sizes = (2048, 512, 256, 256)
def chunks():
    for seed in range(60):
        rng = np.random.default_rng(seed)
        codes = np.stack([rng.integers(0, size, 50_000, np.uint16) for size in sizes], axis=1)
        yield codes, None, None
codes = np.concatenate([chunk[0] for chunk in chunks()])
status = open("/proc/self/status").read()
used = int(status.split("VmData:")[1].split()[0]) << 10
resource.setrlimit(resource.RLIMIT_DATA, (used + (48 << 20),) * 2)
path = sys.argv[1] + "/trie.bin"
print(SidTrie.build_file(path, chunks(), sizes, max_memory_bytes=1 << 25).num_items)
try:
    SidTrie.build(codes, sizes)
except MemoryError:
    print("the limit holds")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits on memory are Linux's")
def test_memory_stays_below_what_is_allowed(tmp_path: Path) -> None:
    assert run_python(BOUNDED_MEMORY, tmp_path).split("\n") == ["3000000", "the limit holds"]
