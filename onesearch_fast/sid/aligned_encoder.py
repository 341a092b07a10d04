"""An encoder whose vectors were aligned to what shoppers do: a matrix over another encoder."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from onesearch_fast.errors import FormatError, invalid
from onesearch_fast.files import atomic_path, sha256
from onesearch_fast.sid.text_encoder import (
    SETTINGS_FILE,
    TextEncoder,
    load_text_encoder,
    normalize_rows,
    read_settings,
    register_text_encoder,
    write_settings,
)

_KIND = "aligned"
_TEXT_FOLDER = "text"
_WEIGHT_FILE = "adapter.safetensors"


@register_text_encoder(_KIND)
class AlignedEncoder:
    """e' = normalise(e + e W), e the vector by another encoder; W from `sid.alignment.fit_adapter`.

    Rows are multiplied one at a time, so that a text's vector depends on its batch no more than e
    does: batched products differ in their last bits.
    """

    def __init__(
        self,
        encoder: TextEncoder,
        weight: npt.NDArray[np.float32],
        training_log: str | None = None,
    ) -> None:
        """weight: float32 [dim, dim]. training_log: `TrainLog.content_hash` of what gave it."""
        if weight.shape != (encoder.dim, encoder.dim):
            expected = f"shape {(encoder.dim, encoder.dim)}"
            raise invalid("AlignedEncoder", "weight", expected, f"shape {weight.shape}")
        if not np.isfinite(weight).all():
            raise invalid("AlignedEncoder", "weight", "finite numbers", "NaN or infinity")
        self._encoder = encoder
        self._training_log = training_log
        self._weight = np.ascontiguousarray(weight, np.float32)

    @property
    def dim(self) -> int:
        return self._encoder.dim

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """texts [n] -> float32 [n, dim]. Cost: that of the inner encoder, and n x dim x dim."""
        vectors = self._encoder.encode(texts)
        for row, vector in enumerate(vectors):
            vectors[row] = vector + vector @ self._weight
        return normalize_rows(vectors)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Writes the inner encoder into `text/`, the matrix beside it."""
        from safetensors.numpy import save_file

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self._encoder.save(folder / _TEXT_FOLDER)
        with atomic_path(folder / _WEIGHT_FILE) as temporary:
            save_file({"weight": self._weight}, temporary)
        checksum = sha256(folder / _WEIGHT_FILE)
        write_settings(folder, _KIND, {"sha256": checksum, "training_log": self._training_log})

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> AlignedEncoder:
        """Opens what `save` wrote; FormatError when it was altered."""
        from safetensors.numpy import load_file

        folder = Path(folder)
        path = folder / _WEIGHT_FILE
        settings = read_settings(folder)
        if not path.is_file() or settings.get("sha256") != sha256(path):
            raise FormatError(
                f"{folder / SETTINGS_FILE}: {_WEIGHT_FILE} is absent or differs from its checksum; "
                "align and save it again"
            )
        weight, log = load_file(path)["weight"], settings.get("training_log")
        return cls(load_text_encoder(folder / _TEXT_FOLDER), weight, log)
