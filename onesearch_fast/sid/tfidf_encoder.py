"""The text encoder that needs no download: TF-IDF and a truncated SVD, fitted on the catalogue."""

from __future__ import annotations

import math
import os
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from onesearch_fast.errors import FormatError, invalid
from onesearch_fast.files import atomic_path, read_json, sha256, write_json
from onesearch_fast.sid.analyzer import ANALYZER_VERSION, analyze
from onesearch_fast.sid.seeds import check_seed
from onesearch_fast.sid.text_encoder import (
    check_texts,
    normalize_rows,
    read_settings,
    register_text_encoder,
    write_settings,
)

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

FloatArray = npt.NDArray[np.float32]

_KIND = "tfidf"
_FORMAT_VERSION = 1
_VOCABULARY_FILE = "vocabulary.json"
_ARRAYS_FILE = "tfidf.safetensors"
# Texts whose feature rows are gathered together: the gathered block stays in the processor's cache.
_BLOCK = 128
# Below this many texts a feature seen once is kept: otherwise a toy catalogue has no vocabulary.
_SMALL_CORPUS = 200


@register_text_encoder(_KIND)
class TfidfEncoder:
    """encode(t) = normalise( sum_f (1 + ln tf(f, t)) idf(f) components[f] ), f over known features.

    idf(f) = ln((1 + n) / (1 + df(f))) + 1. `components` [num_features, dim] are V S^-1/2 of the
    truncated SVD U S V^T of the row-normalised TF-IDF matrix of the fitted texts: latent semantic
    analysis (Deerwester et al. 1990), each axis weighed by the root of its singular value, so that
    the few strongest axes do not drown what tells similar items apart. Encoding needs numpy only;
    a row does not depend on its neighbours in the batch. Cost: O(features in the text x dim).
    """

    def __init__(self, vocabulary: Sequence[str], idf: FloatArray, components: FloatArray) -> None:
        self._vocabulary = list(vocabulary)
        self._idf = idf
        self._components = components
        self._feature_ids = {feature: row for row, feature in enumerate(self._vocabulary)}

    @property
    def dim(self) -> int:
        return int(self._components.shape[1])

    @property
    def num_features(self) -> int:
        return len(self._vocabulary)

    @classmethod
    def fit(
        cls, texts: Sequence[str], dim: int = 256, seed: int = 0, max_features: int = 40_000
    ) -> TfidfEncoder:
        """Learns vocabulary, idf and components; equal texts and seed give equal bits.

        A corpus of few texts has fewer than `dim` singular vectors; the rest of the width is zeros.
        Features of one text only are dropped, except in a corpus of under 200 texts. Cost: seconds
        for 10,000 titles, on one thread.
        """
        check_texts("TfidfEncoder.fit", texts)
        if dim < 1:
            raise invalid("TfidfEncoder.fit", "dim", "at least 1", dim)
        check_seed("TfidfEncoder.fit", seed)
        found = _count_features(texts)
        kept, document_frequency = _select_features(found, len(texts), max_features)
        if len(kept) == 0:
            raise invalid(
                "TfidfEncoder.fit", "texts", "texts that hold words", f"{len(texts)} without any"
            )
        idf = (np.log((1 + len(texts)) / (1 + document_frequency)) + 1).astype(np.float32)
        components = _fit_components(found, len(texts), kept, idf, dim, seed)
        return cls([found.names[number] for number in kept], idf, components)

    def encode(self, texts: Sequence[str]) -> FloatArray:
        """texts [n] -> float32 [n, dim]; a text without a known feature is a zero row."""
        check_texts("TfidfEncoder.encode", texts)
        out = np.zeros((len(texts), self.dim), np.float32)
        for begin in range(0, len(texts), _BLOCK):
            block = texts[begin : begin + _BLOCK]
            out[begin : begin + len(block)] = self._project(block)
        return normalize_rows(out)

    def _project(self, texts: Sequence[str]) -> FloatArray:
        out = np.zeros((len(texts), self.dim), np.float32)
        rows, features, weights = self._weights(texts)
        if len(rows) == 0:
            return out
        terms = self._components[features]
        terms *= weights[:, None]
        begins = np.flatnonzero(np.diff(rows, prepend=-1))
        out[rows[begins]] = np.add.reduceat(terms, begins, axis=0)
        return out

    def _weights(
        self, texts: Sequence[str]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], FloatArray]:
        """(row, feature, TF-IDF weight) of every non-zero entry, ordered by row, then feature."""
        find = self._feature_ids.get
        found = [[find(feature, -1) for feature in analyze(text)] for text in texts]
        features = np.fromiter((f for row in found for f in row), np.int64)
        rows = np.repeat(np.arange(len(texts)), [len(row) for row in found])
        known = features >= 0
        keys = rows[known] * self.num_features + features[known]
        keys, counts = np.unique(keys, return_counts=True)
        rows, features = np.divmod(keys, self.num_features)
        weights = (1 + np.log(counts)).astype(np.float32) * self._idf[features]
        return rows, features, weights

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Writes `vocabulary.json`, `tfidf.safetensors` and, last, `text_encoder.json`."""
        from safetensors.numpy import save_file

        folder = Path(folder)
        write_json(folder / _VOCABULARY_FILE, self._vocabulary)
        with atomic_path(folder / _ARRAYS_FILE) as temporary:
            save_file({"idf": self._idf, "components": self._components}, temporary)
        checksums = {name: sha256(folder / name) for name in (_VOCABULARY_FILE, _ARRAYS_FILE)}
        settings = {"version": _FORMAT_VERSION, "analyzer": ANALYZER_VERSION, "sha256": checksums}
        write_settings(folder, _KIND, settings)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> TfidfEncoder:
        """Reads what `save` wrote; FormatError when a file is absent, altered or too new."""
        from safetensors.numpy import load_file

        folder = Path(folder)
        settings = read_settings(folder)
        _check_settings(folder, settings)
        arrays = load_file(folder / _ARRAYS_FILE)
        return cls(read_json(folder / _VOCABULARY_FILE), arrays["idf"], arrays["components"])


def _check_settings(folder: Path, settings: dict[str, object]) -> None:
    versions = (settings.get("version"), settings.get("analyzer"))
    if versions != (_FORMAT_VERSION, ANALYZER_VERSION):
        raise FormatError(
            f"{folder}: written as version {versions[0]} with analyser {versions[1]}, "
            f"this package reads {_FORMAT_VERSION} with {ANALYZER_VERSION}; fit the encoder again"
        )
    checksums = settings.get("sha256")
    for name in (_VOCABULARY_FILE, _ARRAYS_FILE):
        path = folder / name
        if not path.is_file():
            raise FormatError(f"{path}: file is missing; save the encoder again")
        if not isinstance(checksums, dict) or checksums.get(name) != sha256(path):
            raise FormatError(f"{path}: content differs from its checksum; save the encoder again")


@dataclass(frozen=True, eq=False)
class _Occurrences:
    """How often each text holds each feature: flat arrays, since millions of texts would not fit
    as dictionaries. names: the features by number; rows, features, counts: one entry per pair."""

    names: list[str]
    rows: npt.NDArray[np.int32]
    features: npt.NDArray[np.int32]
    counts: npt.NDArray[np.int32]


def _count_features(texts: Sequence[str]) -> _Occurrences:
    numbers: dict[str, int] = {}
    rows, features, counts = array("i"), array("i"), array("i")
    for row, text in enumerate(texts):
        for feature, count in Counter(analyze(text)).items():
            rows.append(row)
            features.append(numbers.setdefault(feature, len(numbers)))
            counts.append(count)
    flat = (np.array(values, np.int32) for values in (rows, features, counts))
    return _Occurrences(list(numbers), *flat)


def _select_features(
    found: _Occurrences, num_texts: int, max_features: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """(feature number, document frequency) by falling frequency, equal ones by the feature."""
    frequency = np.bincount(found.features, minlength=len(found.names))
    least = 1 if num_texts < _SMALL_CORPUS else 2
    kept = sorted(
        np.flatnonzero(frequency >= least).tolist(),
        key=lambda number: (-frequency[number], found.names[number]),
    )[:max_features]
    numbers = np.array(kept, np.int64)
    return numbers, frequency[numbers]


def _fit_components(
    found: _Occurrences,
    num_texts: int,
    kept: npt.NDArray[np.int64],
    idf: FloatArray,
    dim: int,
    seed: int,
) -> FloatArray:
    from sklearn.utils.extmath import randomized_svd
    from threadpoolctl import threadpool_limits

    matrix = _weighted_matrix(found, num_texts, kept, idf)
    # One thread: products split over threads add in another order, and the seed would not decide.
    with threadpool_limits(limits=1):
        _, strengths, components = randomized_svd(
            matrix, min(dim, *matrix.shape), n_iter=4, random_state=seed
        )
    # Repeated texts lower the rank; what lies beyond it is rounding.
    used = strengths > 1e-6 * strengths[0]
    weights = np.sqrt(strengths[0] / strengths[used])
    out = np.zeros((len(kept), dim), np.float32)
    out[:, : len(weights)] = _fix_signs(components[used]).T * weights
    return out


def _weighted_matrix(
    found: _Occurrences, num_texts: int, kept: npt.NDArray[np.int64], idf: FloatArray
) -> csr_matrix:
    """The row-normalised TF-IDF matrix float64 [num_texts, len(kept)]."""
    from scipy.sparse import csr_matrix
    from sklearn.preprocessing import normalize

    column_of = np.full(len(found.names), -1, np.int64)
    column_of[kept] = np.arange(len(kept))
    columns = column_of[found.features]
    inside = columns >= 0
    columns = columns[inside]
    # From a table: the vectorised logarithm may differ from this one in its last bit.
    damped = np.array([0.0, *(1 + math.log(n) for n in range(1, int(found.counts.max()) + 1))])
    values = damped[found.counts[inside]] * idf[columns]
    shape = (num_texts, len(kept))
    return normalize(csr_matrix((values, (found.rows[inside], columns)), shape))


def _fix_signs(components: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """A singular vector is known up to its sign: its largest entry is made positive."""
    peaks = np.take_along_axis(components, np.abs(components).argmax(axis=1)[:, None], axis=1)
    return components * np.where(peaks < 0, -1.0, 1.0)
