"""From text to codes: TF-IDF vectors, the codes of all levels, and fitting them.

Rivals: faiss's exact search level by level (with our residuals between the levels), and
scikit-learn's TF-IDF with the same analyser and the same components; faiss's k-means.
"""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import faiss
import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.preprocessing import normalize
from threadpoolctl import threadpool_limits

from onesearch_fast.sid.analyzer import analyze
from onesearch_fast.sid.codebooks import Codebooks
from onesearch_fast.sid.levels import Level
from onesearch_fast.sid.nearest import nearest
from onesearch_fast.sid.residual_kmeans import KMeans
from onesearch_fast.sid.tfidf_encoder import TfidfEncoder

DIM = 128
SIZES = {
    "4096-1024-512-256-256": ((4096, 1024, 512), (256, 256)),
    "512-128-64-64-64": ((512, 128, 64), (64, 64)),
}


@pytest.fixture(autouse=True)
def one_blas_thread() -> Iterator[None]:
    with threadpool_limits(limits=1):
        yield


@pytest.fixture
def faiss_threads(request: pytest.FixtureRequest, one_blas_thread: None) -> None:
    faiss.omp_set_num_threads(request.config.getoption("--threads"))


def unit_rows(num_rows: int, seed: int) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(num_rows, DIM)).astype(np.float32)
    return normalize(rows)


@cache
def random_book(name: str) -> Codebooks:
    """Random centroids: the time of encoding does not depend on how they were fitted."""
    residual_sizes, opq_sizes = SIZES[name]
    levels = [Level(unit_rows(size, i)) for i, size in enumerate((*residual_sizes, *opq_sizes))]
    return Codebooks(levels[: len(residual_sizes)], levels[len(residual_sizes) :])


def faiss_encoder(book: Codebooks) -> Callable[[np.ndarray], np.ndarray]:
    indexes = []
    for level in book.levels:
        indexes.append(faiss.IndexFlatL2(DIM))
        indexes[-1].add(level.centroids)

    def encode(x: np.ndarray) -> np.ndarray:
        codes = np.empty((len(x), book.num_levels), np.int32)
        for level, index in enumerate(indexes):
            codes[:, level] = index.search(x, 1)[1][:, 0]
            if level < book.num_residual_levels:
                x = book.levels[level].leave(x, codes[:, level], True)
        return codes

    return encode


def assert_nearly_all_equal(ours: np.ndarray, theirs: np.ndarray) -> None:
    """faiss decides near-ties in float32, and one other code changes those after it."""
    assert np.count_nonzero((ours != theirs).any(axis=1)) <= 1e-3 * len(ours)


@pytest.mark.parametrize("num_rows", [1, 64, 100_000])
@pytest.mark.parametrize("sizes", SIZES)
def test_encode_vectors(
    race: Callable[..., None], faiss_threads: None, sizes: str, num_rows: int, tiny: bool
) -> None:
    book = random_book(sizes)
    rival = faiss_encoder(book)
    x = unit_rows(min(num_rows, 1000) if tiny else num_rows, seed=99)
    race({"ours": lambda: book.encode(x), "faiss": lambda: rival(x)}, assert_nearly_all_equal, 5)


def clustered_rows(num_rows: int, seed: int) -> np.ndarray:
    """Unit vectors around centres of very different weight, as a catalogue has them."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((num_rows // 100 + 1, DIM), np.float32)
    x = centres[np.minimum(rng.zipf(1.2, num_rows) - 1, len(centres) - 1)]
    x += np.float32(0.8) * rng.standard_normal(x.shape, np.float32)
    return normalize(x, copy=False)


@pytest.mark.parametrize("codes", [256, 4096])
def test_kmeans(race: Callable[..., None], faiss_threads: None, codes: int, tiny: bool) -> None:
    """Ten iterations from random rows; the errors, not the centroids, must be alike."""
    codes = codes // 64 if tiny else codes
    x = clustered_rows(64 * codes, seed=1)

    def by_faiss() -> np.ndarray:
        kmeans = faiss.Kmeans(DIM, codes, niter=10, max_points_per_centroid=64)
        kmeans.train(x)
        return np.array(kmeans.centroids, np.float32)

    def assert_as_good(ours: np.ndarray, theirs: np.ndarray) -> None:
        errors = [np.square(x - c[nearest(x, c)]).sum() for c in (ours, theirs)]
        assert errors[0] < 1.02 * errors[1]

    kmeans = KMeans(seed=0, iterations=10)
    rivals = {"ours": lambda: kmeans.fit(x, codes, "codes"), "faiss": by_faiss}
    race(rivals, assert_as_good, 3)


@pytest.mark.parametrize("balance_slack", [None, 0.1])
def test_fit_a_million(benchmark: Any, balance_slack: float | None, tiny: bool) -> None:
    """The sizes of a large catalogue; the peak is of the process, vectors (512 MB) included."""
    residual_sizes, opq_sizes = SIZES["512-128-64-64-64" if tiny else "4096-1024-512-256-256"]
    x = clustered_rows(2_000 if tiny else 1_000_000, seed=2)
    options = {"balance_slack": balance_slack}
    book = benchmark.pedantic(
        Codebooks.fit, (x, residual_sizes, opq_sizes), options, rounds=1, iterations=1
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    benchmark.extra_info["peak_mib"] = round(peak / 1024)
    sample = x[:: max(1, len(x) // 1000)]
    alone = np.concatenate([book.encode(row[None]) for row in sample])
    np.testing.assert_array_equal(book.encode(sample), alone)


@cache
def titles() -> list[str]:
    """10,000 invented titles of eight words, word frequencies as in language."""
    words = np.random.default_rng(0).zipf(1.3, size=(10_000, 8)) % 5_000
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    spelled = ["".join(letters[[w % 26, w // 26 % 26, w // 676, w % 7]]) for w in range(5_000)]
    return [" ".join(spelled[word] for word in row) for row in words]


@cache
def fitted_encoder() -> TfidfEncoder:
    return TfidfEncoder.fit(titles(), DIM)


def assert_vectors_close(ours: np.ndarray, theirs: np.ndarray) -> None:
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("num_texts", [1, 10_000])
def test_encode_texts(race: Callable[..., None], num_texts: int) -> None:
    encoder = fitted_encoder()
    texts = titles()[:num_texts]
    vectorizer = TfidfVectorizer(
        analyzer=analyze, vocabulary=encoder._vocabulary, sublinear_tf=True, norm=None
    )
    vectorizer.idf_ = encoder._idf

    def scikit_learn() -> np.ndarray:
        return normalize(vectorizer.transform(texts) @ encoder._components)

    rivals = {"ours": lambda: encoder.encode(texts), "scikit-learn": scikit_learn}
    race(rivals, assert_vectors_close, 5)


@pytest.mark.parametrize("sizes", ["512-128-64-64-64"])
def test_fit(benchmark: Callable[..., None], sizes: str) -> None:
    x = fitted_encoder().encode(titles())
    residual_sizes, opq_sizes = SIZES[sizes]
    benchmark.pedantic(Codebooks.fit, (x, residual_sizes, opq_sizes), rounds=1)
