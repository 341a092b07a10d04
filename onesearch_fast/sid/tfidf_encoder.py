"""The text encoder that needs no download: TF-IDF and a truncated SVD, fitted on the catalogue."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from onesearch_fast.errors import FormatError, invalid
from onesearch_fast.files import atomic_path, read_json, sha256, write_json
from onesearch_fast.sid.analyzer import ANALYZER_VERSION, analyze
from onesearch_fast.sid.text_encoder import (
    check_texts,
    normalize_rows,
    read_settings,
    register_text_encoder,
    write_settings,
)

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
        counts = [Counter(analyze(text)) for text in texts]
        vocabulary, document_frequency = _select_features(counts, max_features)
        if not vocabulary:
            raise invalid(
                "TfidfEncoder.fit", "texts", "texts that hold words", f"{len(texts)} without any"
            )
        idf = (np.log((1 + len(texts)) / (1 + document_frequency)) + 1).astype(np.float32)
        components = _fit_components(counts, vocabulary, idf, dim, seed)
        return cls(vocabulary, idf, components)

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


def _select_features(
    counts: Sequence[Counter[str]], max_features: int
) -> tuple[list[str], npt.NDArray[np.int64]]:
    """Features by falling document frequency, equal frequencies by the feature itself."""
    frequency: Counter[str] = Counter()
    for row in counts:
        frequency.update(row.keys())
    least = 1 if len(counts) < _SMALL_CORPUS else 2
    kept = sorted(
        (item for item in frequency.items() if item[1] >= least),
        key=lambda item: (-item[1], item[0]),
    )[:max_features]
    return [feature for feature, _ in kept], np.array([n for _, n in kept], np.int64)


def _fit_components(
    counts: Sequence[Counter[str]], vocabulary: Sequence[str], idf: FloatArray, dim: int, seed: int
) -> FloatArray:
    from scipy.sparse import csr_matrix
    from sklearn.preprocessing import normalize
    from sklearn.utils.extmath import randomized_svd
    from threadpoolctl import threadpool_limits

    feature_ids = {feature: row for row, feature in enumerate(vocabulary)}
    entries = np.array(list(_entries(counts, feature_ids)), np.float64).reshape(-1, 3)
    rows, columns = entries[:, 0].astype(np.int64), entries[:, 1].astype(np.int64)
    values = entries[:, 2] * idf[columns]
    matrix = normalize(csr_matrix((values, (rows, columns)), (len(counts), len(vocabulary))))
    # One thread: products split over threads add in another order, and the seed would not decide.
    with threadpool_limits(limits=1):
        _, strengths, components = randomized_svd(
            matrix, min(dim, *matrix.shape), n_iter=4, random_state=seed
        )
    # Repeated texts lower the rank; what lies beyond it is rounding.
    kept = strengths > 1e-6 * strengths[0]
    weights = np.sqrt(strengths[0] / strengths[kept])
    out = np.zeros((len(vocabulary), dim), np.float32)
    out[:, : len(weights)] = _fix_signs(components[kept]).T * weights
    return out


def _entries(
    counts: Sequence[Counter[str]], feature_ids: dict[str, int]
) -> Iterator[tuple[int, int, float]]:
    for row, features in enumerate(counts):
        for feature, count in features.items():
            if feature in feature_ids:
                yield row, feature_ids[feature], 1 + math.log(count)


def _fix_signs(components: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """A singular vector is known up to its sign: its largest entry is made positive."""
    peaks = np.take_along_axis(components, np.abs(components).argmax(axis=1)[:, None], axis=1)
    return components * np.where(peaks < 0, -1.0, 1.0)
