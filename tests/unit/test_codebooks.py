"""Codebooks: the assignment rule against faiss and brute force, fitting, files, bad input."""

from __future__ import annotations

import signal
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from onesearch_fast.errors import FormatError
from onesearch_fast.sid.codebooks import Codebooks
from onesearch_fast.sid.nearest import nearest, residual, usable_device
from onesearch_fast.sid.opq import fit_opq
from onesearch_fast.sid.quality import quality
from onesearch_fast.sid.residual_kmeans import KMeans, use_every_centroid

SIZES = (16, 8, 5)
OPQ = (6, 4)


def clustered(num_rows: int, dim: int, seed: int) -> np.ndarray:
    """Unit vectors around 20 centres."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(20, dim))[rng.integers(0, 20, num_rows)]
    x += 0.4 * rng.normal(size=x.shape)
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


X = clustered(600, 19, seed=0)


@pytest.fixture(scope="module")
def book() -> Codebooks:
    return Codebooks.fit(X, SIZES, OPQ, seed=5, iterations=8)


def brute_force_codes(book: Codebooks, x: np.ndarray) -> np.ndarray:
    """The definition in float64, one row and one level at a time."""
    residual_books = [
        level.centroids.astype(np.float64) for level in book.levels[: book.num_residual_levels]
    ]
    opq_books = [
        level.centroids.astype(np.float64) for level in book.levels[book.num_residual_levels :]
    ]
    codes = np.empty((len(x), book.num_levels), np.int32)
    for row, rest in enumerate(x.astype(np.float64)):
        for level, table in enumerate(residual_books):
            codes[row, level] = ((table - rest) ** 2).sum(axis=1).argmin()
            rest = rest - table[codes[row, level]]
            if book.normalize_residuals:
                rest = rest / np.linalg.norm(rest)
        for level, table in enumerate(opq_books, len(residual_books)):
            codes[row, level] = ((table - rest) ** 2).sum(axis=1).argmin()
    return codes


def test_properties_and_form_of_the_codes(book: Codebooks) -> None:
    assert book.level_sizes == (16, 8, 5, 6, 4)
    assert (book.num_levels, book.num_residual_levels, book.dim) == (5, 3, 19)
    codes = book.encode(X)
    assert codes.dtype == np.int32
    assert codes.shape == (600, 5)
    q = quality(codes, book.level_sizes, X)
    assert q.level_use[:3] == (1.0, 1.0, 1.0)
    assert q.reconstruction_error == tuple(sorted(q.reconstruction_error, reverse=True))


@pytest.mark.parametrize("normalize", [True, False])
def test_codes_equal_the_definition_in_float64(normalize: bool) -> None:
    book = Codebooks.fit(X, SIZES, OPQ, normalize_residuals=normalize, iterations=5)
    unseen = clustered(300, 19, seed=1)
    np.testing.assert_array_equal(book.encode(unseen), brute_force_codes(book, unseen))


def test_first_level_equals_faiss(book: Codebooks) -> None:
    index = faiss.IndexFlatL2(book.dim)
    index.add(book.levels[0].centroids)
    unseen = clustered(500, 19, seed=2)
    np.testing.assert_array_equal(book.encode(unseen)[:, 0], index.search(unseen, 1)[1][:, 0])


small_grids = st.integers(1, 4).flatmap(
    lambda dim: st.tuples(
        st.lists(st.tuples(*[st.integers(-2, 2)] * dim), min_size=1, max_size=12),
        st.lists(st.tuples(*[st.integers(-2, 2)] * dim), min_size=1, max_size=12),
    )
)


@given(small_grids)
def test_ties_go_to_the_lower_code(
    case: tuple[list[tuple[int, ...]], list[tuple[int, ...]]],
) -> None:
    x, table = (np.array(rows, np.float32) for rows in case)
    gaps = x[:, None, :].astype(np.float64) - table[None]
    np.testing.assert_array_equal(nearest(x, table), (gaps**2).sum(axis=2).argmin(axis=1))


@given(st.integers(0, 10_000), st.integers(1, 200), st.floats(1e-8, 1e-4))
def test_near_ties_do_not_depend_on_the_batch(seed: int, dim: int, gap: float) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(9, dim)).astype(np.float32)
    # Every centroid has a twin nearly as near.
    table = rng.normal(size=(6, dim))
    table = np.concatenate([table, table + gap * rng.normal(size=table.shape)]).astype(np.float32)
    codes = nearest(x, table)
    np.testing.assert_array_equal(codes, np.concatenate([nearest(row[None], table) for row in x]))
    np.testing.assert_array_equal(codes[::-1], nearest(x[::-1], table))
    gaps = x[:, None, :].astype(np.float64) - table[None]
    np.testing.assert_array_equal(codes, (gaps**2).sum(axis=2).argmin(axis=1))


def test_batch_single_row_and_any_order_give_the_same_codes(book: Codebooks) -> None:
    codes = book.encode(X)
    np.testing.assert_array_equal(codes, np.concatenate([book.encode(row[None]) for row in X]))
    order = np.random.default_rng(0).permutation(len(X))
    np.testing.assert_array_equal(codes[order], book.encode(X[order]))
    strided = np.repeat(X, 2, axis=0)[::2]
    np.testing.assert_array_equal(codes, book.encode(strided))
    np.testing.assert_array_equal(codes, book.encode(torch.from_numpy(X)))


def test_encoding_many_rows_crosses_blocks_unchanged() -> None:
    table = clustered(2_000, 8, seed=3)
    x = clustered(3_000, 8, seed=4)
    index = faiss.IndexFlatL2(8)
    index.add(table)
    np.testing.assert_array_equal(nearest(x, table), index.search(x, 1)[1][:, 0])


def test_residual_is_normalised_and_vanishes_on_the_centroid() -> None:
    table = np.array([[1, 0], [0, 2]], np.float32)
    x = np.array([[1, 0], [4, 4], [1 + 1e-7, 0]], np.float32)
    codes = np.array([0, 0, 0], np.int32)
    np.testing.assert_allclose(residual(x, table, codes, True), [[0, 0], [0.6, 0.8], [0, 0]])
    np.testing.assert_allclose(residual(x, table, codes, False), [[0, 0], [3, 4], [0, 0]])


def test_zero_rows_get_the_code_nearest_to_the_origin(book: Codebooks) -> None:
    codes = book.encode(np.zeros((2, 19), np.float32))
    assert codes[0, 0] == (book.levels[0].centroids.astype(np.float64) ** 2).sum(axis=1).argmin()
    np.testing.assert_array_equal(codes[0], codes[1])
    assert Codebooks.fit(np.vstack([X, np.zeros((9, 19), np.float32)]), (8,), ()).num_levels == 1


def test_no_rows_give_no_codes(book: Codebooks) -> None:
    assert book.encode(np.zeros((0, 19), np.float32)).shape == (0, 5)


def test_equal_seeds_give_equal_bits_whatever_the_threads(tmp_path: Path) -> None:
    paths = []
    for threads, seed in ((1, 5), (2, 5), (2, 6)):
        faiss.omp_set_num_threads(threads)
        book = Codebooks.fit(X, SIZES, OPQ, seed=seed, iterations=8)
        paths.append(tmp_path / f"{threads}-{seed}.safetensors")
        book.save(paths[-1])
    faiss.omp_set_num_threads(1)
    first, same, other = (path.read_bytes() for path in paths)
    assert first == same
    assert first != other


def test_residual_levels_alone(book: Codebooks) -> None:
    alone = Codebooks.fit(X, SIZES, None, seed=5, iterations=8)
    assert alone.level_sizes == SIZES
    np.testing.assert_array_equal(alone.encode(X), book.encode(X)[:, :3])


def test_more_levels_and_more_iterations_lower_the_error() -> None:
    errors = {}
    for iterations in (1, 10):
        codes = Codebooks.fit(X, (32,), (), iterations=iterations).encode(X)
        errors[iterations] = quality(codes, (32,), X).reconstruction_error[0]
    assert errors[10] < errors[1]


def test_normalising_changes_the_later_levels_only(book: Codebooks) -> None:
    plain = Codebooks.fit(X, SIZES, OPQ, normalize_residuals=False, seed=5, iterations=8).encode(X)
    codes = book.encode(X)
    np.testing.assert_array_equal(plain[:, 0], codes[:, 0])
    assert (plain[:, 1] != codes[:, 1]).any()


def test_opq_codewords_live_in_orthogonal_subspaces() -> None:
    tables = fit_opq(X, (7, 5, 3), KMeans(0, 4))
    assert [len(table) for table in tables] == [7, 5, 3]
    for i, left in enumerate(tables):
        for right in tables[i + 1 :]:
            np.testing.assert_allclose(left @ right.T, 0, atol=1e-5)


def test_opq_beats_product_quantisation_without_rotation() -> None:
    # Correlated dimensions: the first slice of axes holds nearly all of the variance.
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(1_000, 8)) * [9, 9, 3, 1, 0.1, 0.1, 0.1, 0.1]).astype(np.float32)
    codewords = [table[nearest(x, table)] for table in fit_opq(x, (16, 16), KMeans(0, 10))]
    ours = ((x - sum(codewords)) ** 2).sum()
    pq = faiss.ProductQuantizer(8, 2, 4)
    pq.train(x)
    assert ours < 0.5 * ((x - pq.decode(pq.compute_codes(x))) ** 2).sum()


def test_opq_is_as_good_as_that_of_faiss() -> None:
    x = np.ascontiguousarray(X[:, :18])
    codewords = [table[nearest(x, table)] for table in fit_opq(x, (16, 16), KMeans(0, 25))]
    index = faiss.IndexPreTransform(faiss.OPQMatrix(18, 2), faiss.IndexPQ(18, 2, 4))
    index.train(x)
    faiss_error = ((x - index.sa_decode(index.sa_encode(x))) ** 2).sum()
    assert ((x - sum(codewords)) ** 2).sum() < 1.05 * faiss_error


@given(st.integers(0, 1_000), st.integers(2, 12), st.integers(1, 12))
def test_every_centroid_gets_used(seed: int, distinct: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    x = np.repeat(rng.integers(-9, 9, size=(distinct, 2)), 3, axis=0).astype(np.float32)
    k = min(k, len(np.unique(x, axis=0)))
    start = np.tile(rng.normal(size=2).astype(np.float32), (k, 1))
    moved = use_every_centroid(x, start)
    assert len(np.unique(nearest(x, moved))) == k


def test_as_many_codes_as_distinct_vectors_is_allowed_and_one_more_is_not() -> None:
    x = np.repeat(np.eye(6, dtype=np.float32), 4, axis=0)
    codes = Codebooks.fit(x, (6,), ()).encode(x)
    assert len(np.unique(codes)) == 6
    with pytest.raises(ValueError, match=r"level_sizes\[0\].*got 7; the largest usable size is 6"):
        Codebooks.fit(x, (7,), ())
    with pytest.raises(ValueError, match=r"level_sizes\[1\].*the largest usable size is 1"):
        Codebooks.fit(x, (6, 2), ())
    with pytest.raises(ValueError, match=r"opq.*the largest usable size is 1"):
        Codebooks.fit(x, (6,), (2, 2))


def test_codes_of_one_entry_carry_a_single_item() -> None:
    book = Codebooks.fit(np.ones((1, 3), np.float32), (1, 1), (1, 1))
    assert book.encode(np.ones((1, 3), np.float32)).tolist() == [[0, 0, 0, 0]]


def test_round_trip_is_bit_equal(book: Codebooks, tmp_path: Path) -> None:
    path = tmp_path / "codebooks.safetensors"
    book.save(path)
    loaded = Codebooks.load(path)
    assert loaded.level_sizes == book.level_sizes
    assert loaded.num_residual_levels == 3
    assert loaded.normalize_residuals
    for ours, theirs in zip(book.levels, loaded.levels, strict=True):
        np.testing.assert_array_equal(ours.centroids, theirs.centroids)
    np.testing.assert_array_equal(loaded.encode(X), book.encode(X))
    loaded.save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == path.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["again", "codebooks.safetensors"]


def test_any_damage_is_noticed(book: Codebooks, tmp_path: Path) -> None:
    path = tmp_path / "codebooks.safetensors"
    book.save(path)
    sound = path.read_bytes()
    rng = np.random.default_rng(0)
    for position in rng.integers(0, len(sound), 60):
        damaged = bytearray(sound)
        damaged[position] ^= 1 << int(rng.integers(0, 8))
        path.write_bytes(bytes(damaged))
        with pytest.raises(FormatError, match=r"codebooks\.safetensors"):
            Codebooks.load(path)
    for length in (0, 7, 100, len(sound) // 2, len(sound) - 1):
        path.write_bytes(sound[:length])
        with pytest.raises(FormatError, match=r"codebooks\.safetensors"):
            Codebooks.load(path)


def test_other_safetensors_files_are_refused(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    path = tmp_path / "other.safetensors"
    for metadata in (None, {"codebooks": '{"format": "onesearch_fast.codebooks", "version": 99}'}):
        save_file({"x": np.zeros(3, np.float32)}, path, metadata)
        with pytest.raises(FormatError, match="expected format"):
            Codebooks.load(path)
    with pytest.raises(FileNotFoundError):
        Codebooks.load(tmp_path / "absent")


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e30])
def test_bad_numbers_are_refused_by_row(book: Codebooks, bad: float) -> None:
    x = X[:5].copy()
    x[3, 2] = bad
    with pytest.raises(ValueError, match=r"row 3, column 2; 1 of 5 rows"):
        book.encode(x)
    with pytest.raises(ValueError, match="embeddings"):
        Codebooks.fit(x, (2,), ())


def test_fitting_to_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one row"):
        Codebooks.fit(X[:0], (2,), ())


@pytest.mark.parametrize("shape", [(19,), (3, 18), (3, 20), (2, 3, 19)])
def test_wrong_shapes_are_refused(book: Codebooks, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"shape \[n, 19\]"):
        book.encode(np.zeros(shape, np.float32))


def test_integers_are_refused(book: Codebooks) -> None:
    with pytest.raises(TypeError, match="floating-point"):
        book.encode(np.zeros((2, 19), int))


@pytest.mark.parametrize(
    ("settings", "argument"),
    [
        ({"level_sizes": ()}, "level_sizes"),
        ({"level_sizes": (4, 0)}, "level_sizes"),
        ({"level_sizes": (4, 2.5)}, "level_sizes"),
        ({"level_sizes": (1 << 17,)}, "level_sizes"),
        ({"level_sizes": (2,) * 9}, "levels"),
        ({"opq": (0, 4)}, "opq"),
        ({"opq": (2,) * 6}, "sub-vectors"),
        ({"iterations": 0}, "iterations"),
        ({"batch_rows": 0}, "batch_rows"),
        ({"opq": (2, 2), "opq_directions": 1}, "opq_directions"),
        ({"balance_by_first_code": True}, "balance_by_first_code"),
        ({"seed": -1}, "seed"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, object], argument: str) -> None:
    with pytest.raises(ValueError, match=argument):
        Codebooks.fit(X[:, :5].copy(), **({"level_sizes": (4,), "opq": ()} | settings))  # type: ignore[arg-type]


@pytest.mark.parametrize("sizes", [{"level_sizes": 4}, {"level_sizes": (4,), "opq": 4}])
def test_one_number_is_no_sequence_of_sizes(sizes: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="expected a sequence of integers, got 4"):
        Codebooks.fit(X, **sizes)


def test_encoding_needs_neither_faiss_nor_scikit_learn(book: Codebooks, tmp_path: Path) -> None:
    book.save(tmp_path / "book")
    program = (
        "import sys, numpy as np\n"
        "sys.modules.update(faiss=None, sklearn=None, scipy=None)\n"
        "from onesearch_fast.sid import Codebooks\n"
        f"print(Codebooks.load({str(tmp_path / 'book')!r}).encode(np.ones((1, 19))).shape)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "(1, 5)\n", done.stderr


class Chunks:
    """Rows that can be read again and again, a few at a time."""

    def __init__(self, x: np.ndarray, rows: int) -> None:
        self.x, self.rows = x, rows

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self.x[at : at + self.rows] for at in range(0, len(self.x), self.rows))


def arrow_lists(x: np.ndarray) -> list[pa.Array]:
    return [
        pa.FixedSizeListArray.from_arrays(part.ravel(), x.shape[1]) for part in (x[:90], x[90:])
    ]


def memory_map(x: np.ndarray, folder: Path) -> np.ndarray:
    np.save(folder / "x.npy", x)
    return np.load(folder / "x.npy", mmap_mode="r")


SETTINGS = [
    {"balance_slack": 0.2},
    {"balance_slack": 0.2, "balance_by_first_code": True},
    {"prq": True},
    {"opq_directions": 5},
    {"batch_rows": 100},
]
SETTING_IDS = [" ".join(setting) for setting in SETTINGS]


@pytest.mark.parametrize("settings", SETTINGS, ids=SETTING_IDS)
def test_streams_give_the_bits_of_arrays(settings: dict[str, Any], tmp_path: Path) -> None:
    x = clustered(2000, 11, seed=8)

    def fit(vectors: Any) -> Codebooks:
        return Codebooks.fit(vectors, (8, 6, 5), (4, 4), iterations=4, seed=3, **settings)

    book = fit(x)
    codes = book.encode(x)
    forms = {
        "memory map": memory_map(x, tmp_path),
        "list": [x[:1], x[1:700], x[700:]],
        "chunks": Chunks(x, 77),
        "arrow": arrow_lists(x),
        "torch": [torch.from_numpy(x)],
    }
    for form, vectors in forms.items():
        np.testing.assert_array_equal(fit(vectors).encode(vectors), codes, form)
    np.testing.assert_array_equal(np.concatenate(list(book.encode_chunks(Chunks(x, 5)))), codes)
    np.testing.assert_array_equal(
        np.concatenate([book.encode(row[None]) for row in x[:40]]), codes[:40]
    )
    book.save(tmp_path / "book")
    loaded = Codebooks.load(tmp_path / "book")
    np.testing.assert_array_equal(loaded.encode(x), codes)
    loaded.save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "book").read_bytes()


class Made:
    """Rows that stand nowhere: each chunk is drawn anew when it is read."""

    num_chunks, shape = 60, (1000, 256)

    def __iter__(self) -> Iterator[np.ndarray]:
        for seed in range(self.num_chunks):
            yield np.random.default_rng(seed).standard_normal(self.shape, np.float32)


@pytest.mark.parametrize("settings", [{}, {"balance_slack": 0.2}], ids=["plain", "balanced"])
def test_fitting_and_encoding_never_hold_a_whole_stream(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onesearch_fast.sid.fitting._MAX_BYTES_IN_MEMORY", 1000)
    bytes_of_all = 4 * Made.num_chunks * Made.shape[0] * Made.shape[1]
    tracemalloc.start()
    try:
        book = Codebooks.fit(Made(), (8, 8), (4,), iterations=2, **settings)
        sizes = sum(np.bincount(codes[:, 1], minlength=8) for codes in book.encode_chunks(Made()))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < bytes_of_all / 2
    assert sizes.sum() == Made.num_chunks * Made.shape[0]
    assert not settings or sizes.max() <= 1.2 * sizes.sum() / 8


def test_prices_hold_for_all_rows_though_the_levels_are_trained_on_few(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("onesearch_fast.sid.fitting.MAX_ROWS_PER_CENTROID", 20)
    monkeypatch.setattr("onesearch_fast.sid.fitting._MAX_BYTES_IN_MEMORY", 1000)
    x = clustered(3000, 11, seed=9)
    for sizes in ((8,), (6, 4, 8)):
        book = Codebooks.fit(Chunks(x, 500), sizes, (4,), balance_slack=0.1, state=tmp_path)
        last = book.encode(x)[:, len(sizes) - 1]
        assert np.bincount(last).max() <= np.ceil(1.1 * 3000 / 8)
    assert {path.suffix for path in tmp_path.iterdir()} == {".safetensors"}


def test_balance_by_first_code_holds_among_the_rows_of_each_first_code() -> None:
    x = clustered(2000, 11, seed=8)
    book = Codebooks.fit(x, (7, 5, 6), (), balance_slack=0.1, balance_by_first_code=True)
    codes = book.encode(x)
    assert book.levels[2].prices is not None
    assert book.levels[2].prices.shape == (7, 6)
    for first in range(7):
        own = codes[codes[:, 0] == first]
        assert np.bincount(own[:, 2]).max() <= np.ceil(1.1 * len(own) / 6)


def test_prq_leaves_what_lies_across_the_chosen_centroids() -> None:
    book = Codebooks.fit(X, (8, 6, 4), (3,), prq=True, normalize_residuals=False, iterations=5)
    assert [level.project for level in book.levels] == [True, True, False, False]
    assert book.mean is not None
    seen = [rest for rest, _ in book.walk(X)]
    codes = book.encode(X)
    np.testing.assert_allclose(seen[0] @ book.mean, 0, atol=1e-6)
    for level in (0, 1):
        chosen = book.levels[level].centroids[codes[:, level]]
        np.testing.assert_allclose((seen[level + 1] * chosen).sum(1), 0, atol=1e-6)


def test_parting_directions_give_more_items_an_sid_of_their_own() -> None:
    # What tells the items of a cluster apart lies in two of many directions.
    rng = np.random.default_rng(0)
    x = rng.normal(size=(30, 32))[rng.integers(0, 30, 1500)]
    x[:, :2] += 0.3 * rng.normal(size=(1500, 2))
    x = (x + 0.15 * np.repeat(rng.normal(size=(50, 32)), 30, axis=0)).astype(np.float32)
    alone = {}
    for directions in (None, 2):
        book = Codebooks.fit(x, (16, 8), (16, 16), opq_directions=directions, iterations=8)
        alone[directions] = quality(book.encode(x), book.level_sizes).icr_item
    assert alone[2] > alone[None]


def test_a_stopped_fit_goes_on(tmp_path: Path) -> None:
    def fit(on_level: Callable[[str], None], state: Path | None, seed: int = 1) -> Codebooks:
        return Codebooks.fit(X, SIZES, OPQ, seed=seed, iterations=4, state=state, on_level=on_level)

    def stop_at_three(stage: str) -> None:
        if stage.startswith("level 3"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(stop_at_three, tmp_path)
    heard: list[str] = []
    book = fit(heard.append, tmp_path)
    assert [stage[:7] for stage in heard] == ["level 3", "levels "]
    whole = fit(lambda _: None, None)
    book.save(tmp_path / "resumed")
    whole.save(tmp_path / "whole")
    assert (tmp_path / "resumed").read_bytes() == (tmp_path / "whole").read_bytes()
    # Other settings do not take over what is there.
    heard.clear()
    fit(heard.append, tmp_path, seed=2)
    assert len(heard) == 4


_KILLED_FIT = """
import os, signal, sys
import numpy as np
from onesearch_fast.sid.codebooks import Codebooks

def die(stage):
    if stage.startswith("levels by OPQ"):
        os.kill(os.getpid(), signal.SIGKILL)

x = np.load(sys.argv[1])
Codebooks.fit(x, {sizes}, {opq}, iterations=4, balance_slack=0.1, state=sys.argv[2], on_level=die)
"""


def test_a_killed_fit_goes_on(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    script = _KILLED_FIT.format(sizes=SIZES, opq=OPQ)
    command = [sys.executable, "-c", script, str(tmp_path / "x.npy"), str(tmp_path / "state")]
    killed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    heard: list[str] = []
    options: dict[str, Any] = {"iterations": 4, "balance_slack": 0.1}
    book = Codebooks.fit(X, SIZES, OPQ, state=tmp_path / "state", on_level=heard.append, **options)
    assert [stage[:6] for stage in heard] == ["levels"]
    book.save(tmp_path / "resumed")
    Codebooks.fit(X, SIZES, OPQ, **options).save(tmp_path / "whole")
    assert (tmp_path / "resumed").read_bytes() == (tmp_path / "whole").read_bytes()


def test_a_stopped_fit_does_not_go_on_with_other_rows_beside_its_sample(tmp_path: Path) -> None:
    x = clustered(2000, 19, seed=7)  # two sizes of 2 and OPQ of 2 draw a sample of 256
    options: dict[str, Any] = {"balance_slack": 0.05, "iterations": 3}
    before = Codebooks.fit(x, (2, 2), (2,), state=tmp_path, **options)
    other = clustered(2000, 19, seed=8)
    sample = np.sort(np.random.default_rng(0).choice(2000, 256, replace=False))
    other[sample] = x[sample]
    book = Codebooks.fit(other, (2, 2), (2,), state=tmp_path, **options)
    want = Codebooks.fit(other, (2, 2), (2,), **options)
    np.testing.assert_array_equal(book.levels[1].prices, want.levels[1].prices)
    assert not np.array_equal(book.levels[1].prices, before.levels[1].prices)


def test_iterators_and_bad_rows_in_later_chunks_are_refused() -> None:
    with pytest.raises(TypeError, match="more than once, got an iterator"):
        Codebooks.fit(iter([X]), (4,), ())
    bad = X.copy()
    bad[500, 3] = np.nan
    with pytest.raises(ValueError, match="row 500, column 3; 1 of"):
        Codebooks.fit(Chunks(bad, 50), (4,), ())
    with pytest.raises(ValueError, match=r"shape \[n, 19\], got shape \[9, 18\]"):
        Codebooks.fit([X, X[:9, :18]], (4,), ())


def test_a_gpu_is_used_where_torch_sees_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert usable_device("fit", None) == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert usable_device("fit", None) == "cuda"
    assert usable_device("fit", "cpu") == "cpu"


@pytest.mark.parametrize(
    "device", ["gpu", "meta", *(() if torch.cuda.is_available() else ("cuda",))]
)
def test_devices_that_are_not_there_are_refused(book: Codebooks, device: str) -> None:
    for attempt in (book.encode, lambda x, device: Codebooks.fit(x, (2,), (), device=device)):
        with pytest.raises(ValueError, match=r"device: .*where torch sees a GPU"):
            attempt(X, device=device)
