"""Keywords of one query, and the whole online path from its vector to its SID; one thread.

Rival of the matching: one regular expression of all keywords, longest first. It finds no keyword
that overlaps an earlier one, so the texts here have none that do.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from onesearch_fast.sid.codebooks import Codebooks
from onesearch_fast.sid.keyword_encoder import KeywordEncoder
from onesearch_fast.sid.keywords import Keyword, KeywordDictionary
from onesearch_fast.sid.levels import Level
from onesearch_fast.sid.text_encoder import normalize_rows

DIM = 128
NUM_KEYWORDS = 50_000
QUERY = "word17 red word4242 shoes for word49999"


@pytest.fixture(autouse=True)
def one_blas_thread() -> Iterator[None]:
    with threadpool_limits(limits=1):
        yield


class GivenVectors:
    """Stands in for a model whose time is not measured here: seeded vectors of length 1."""

    dim = DIM

    def encode(self, texts: list[str]) -> np.ndarray:
        return unit_rows(len(texts), len(texts))


def unit_rows(num_rows: int, seed: int) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(num_rows, DIM))
    return normalize_rows(rows.astype(np.float32))


@cache
def dictionary(num_keywords: int) -> KeywordDictionary:
    return KeywordDictionary(Keyword(f"word{i}", "entity") for i in range(num_keywords))


def regular_expression(num_keywords: int) -> Callable[[], list[str]]:
    words = sorted((one.text for one in dictionary(num_keywords).keywords), key=len, reverse=True)
    pattern = re.compile(rf"\b(?:{'|'.join(words)})\b")
    return lambda: pattern.findall(QUERY)


@pytest.mark.parametrize("num_keywords", [1_000, NUM_KEYWORDS])
def test_match(race: Callable[..., None], tiny: bool, num_keywords: int) -> None:
    num_keywords = 1_000 if tiny else num_keywords
    keywords = dictionary(num_keywords)
    rivals = {
        "ours": lambda: [one.text for one in keywords.match(QUERY)],
        "regular expression": regular_expression(num_keywords),
    }
    race(rivals, np.testing.assert_equal)


@pytest.mark.parametrize("sizes", [((256, 256, 256), (256, 256)), ((4096, 1024, 512), (256, 256))])
def test_query_to_sid(
    benchmark: Callable[..., None], sizes: tuple[tuple[int, ...], tuple[int, ...]]
) -> None:
    """A query whose embedding is given: keywords, fusion, codes; the same as in a batch."""
    levels = [[Level(unit_rows(size, seed)) for seed, size in enumerate(of)] for of in sizes]
    book = Codebooks(*levels)
    encoder = KeywordEncoder(GivenVectors(), dictionary(NUM_KEYWORDS))
    vectors = unit_rows(64, 7)

    def online(vector: np.ndarray) -> np.ndarray:
        return book.encode(encoder.enhance(vector[None], [QUERY]))

    batch = book.encode(encoder.enhance(vectors, [QUERY] * len(vectors)))
    np.testing.assert_array_equal(np.concatenate([online(v) for v in vectors]), batch)
    benchmark(online, vectors[0])
