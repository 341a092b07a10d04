"""Keyword enhancement: a text's vector, drawn towards the vectors of its keywords."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from onesearch_fast.errors import FormatError, invalid
from onesearch_fast.files import atomic_path, sha256
from onesearch_fast.sid.keywords import KeywordDictionary
from onesearch_fast.sid.text_encoder import (
    SETTINGS_FILE,
    TextEncoder,
    check_texts,
    load_text_encoder,
    normalize_rows,
    read_settings,
    register_text_encoder,
    write_settings,
)

_KIND = "keyword"
_TEXT_FOLDER = "text"
_KEYWORDS_FILE = "keywords.jsonl"
_VECTORS_FILE = "keyword_vectors.safetensors"


@register_text_encoder(_KIND)
class KeywordEncoder:
    """e' = (e + mean over keywords k of e_k) / 2, divided by its length; e without keywords.

    e is the vector of the whole text by another encoder, e_k that of a keyword found in it. The
    vectors of all keywords are made once and stored, so that a text's vector depends on neither
    its batch nor what was encoded before.
    Source: OneSearch, arXiv 2509.03236, eq. 2; the division by the length follows its code.
    """

    def __init__(
        self,
        encoder: TextEncoder,
        dictionary: KeywordDictionary,
        keyword_vectors: npt.NDArray[np.float32] | None = None,
    ) -> None:
        """`keyword_vectors` [len(dictionary), dim]: those of an earlier time; default: encoded."""
        self._encoder = encoder
        self._dictionary = dictionary
        if keyword_vectors is None:
            keyword_vectors = encoder.encode([one.text for one in dictionary.keywords])
        _check_shape("keyword_vectors", keyword_vectors, (len(dictionary), encoder.dim))
        self._keyword_vectors = keyword_vectors

    @property
    def dim(self) -> int:
        return self._encoder.dim

    @property
    def dictionary(self) -> KeywordDictionary:
        """The keywords it looks for."""
        return self._dictionary

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """texts [n] -> float32 [n, dim]. Cost: that of the inner encoder, and one scan a text."""
        return self.enhance(self._encoder.encode(texts), texts)

    def enhance(
        self, vectors: npt.NDArray[np.float32], texts: Sequence[str]
    ) -> npt.NDArray[np.float32]:
        """As `encode`, for `vectors` [n, dim] that the inner encoder gave for `texts` [n] before.

        A new array; a row depends on its own vector and text alone, so a single query gets the bits
        it gets in a batch. Cost: one scan of each text.
        """
        check_texts("KeywordEncoder.enhance", texts)
        _check_shape("vectors", vectors, (len(texts), self.dim))
        enhanced = np.array(vectors, np.float32)
        for row, text in enumerate(texts):
            found = self._dictionary.match_indices(text)
            if found:
                mean = self._keyword_vectors[found].mean(axis=0)
                enhanced[row] = normalize_rows(0.5 * (enhanced[row] + mean)[None])[0]
        return enhanced

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Writes the inner encoder into `text/`, the dictionary and its vectors beside it."""
        from safetensors.numpy import save_file

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self._encoder.save(folder / _TEXT_FOLDER)
        self._dictionary.save(folder / _KEYWORDS_FILE)
        with atomic_path(folder / _VECTORS_FILE) as temporary:
            save_file({"vectors": self._keyword_vectors}, temporary)
        write_settings(folder, _KIND, {"sha256": _checksums(folder)})

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> KeywordEncoder:
        """Opens what `save` wrote; FormatError when a file was altered."""
        from safetensors.numpy import load_file

        folder = Path(folder)
        if read_settings(folder).get("sha256") != _checksums(folder):
            files = f"{_KEYWORDS_FILE} or {_VECTORS_FILE}"
            raise FormatError(
                f"{folder / SETTINGS_FILE}: {files} differs from its checksum; write it again"
            )
        dictionary = KeywordDictionary.load(folder / _KEYWORDS_FILE)
        vectors = load_file(folder / _VECTORS_FILE)["vectors"]
        return cls(load_text_encoder(folder / _TEXT_FOLDER), dictionary, vectors)


def _check_shape(argument: str, vectors: npt.NDArray[np.float32], shape: tuple[int, int]) -> None:
    if vectors.shape != shape:
        raise invalid("KeywordEncoder", argument, f"shape {shape}", f"shape {vectors.shape}")


def _checksums(folder: Path) -> dict[str, str]:
    files = (folder / _KEYWORDS_FILE, folder / _VECTORS_FILE)
    return {file.name: sha256(file) for file in files if file.is_file()}
