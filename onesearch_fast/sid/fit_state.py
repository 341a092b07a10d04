"""What a fit has finished, kept in a folder, so that a stopped one goes on."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt

from onesearch_fast.errors import FormatError
from onesearch_fast.files import atomic_path
from onesearch_fast.sid.levels import Level


@dataclass(frozen=True)
class FitState:
    """Finished levels, one file each; without a folder nothing is kept.

    A level counts only under the fingerprint of the fit, which covers settings and vectors.
    """

    folder: Path | None
    fingerprint: str

    @staticmethod
    def open(folder: str | os.PathLike[str] | None, fingerprint: str) -> FitState:
        if folder is None:
            return FitState(None, fingerprint)
        Path(folder).mkdir(parents=True, exist_ok=True)
        return FitState(Path(folder), fingerprint)

    def load(self, number: int) -> Level | None:
        """The finished level, or None."""
        from safetensors import SafetensorError, safe_open

        if self.folder is None or not self._path(number).is_file():
            return None
        try:
            with safe_open(self._path(number), framework="numpy") as file:
                about = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except SafetensorError as error:
            raise FormatError(f"{self._path(number)}: {error}; remove it") from error
        if about.get("fingerprint") != self.fingerprint:
            return None
        project = about.get("project") == "True"
        return Level(tensors["centroids"], tensors.get("prices"), project)

    def save(self, number: int, level: Level) -> None:
        from safetensors.numpy import save_file

        if self.folder is None:
            return
        tensors: dict[str, npt.NDArray[Any]] = {"centroids": level.centroids}
        if level.prices is not None:
            tensors["prices"] = level.prices
        about = {"fingerprint": self.fingerprint, "project": str(level.project)}
        with atomic_path(self._path(number)) as temporary:
            save_file(tensors, temporary, about)

    def _path(self, number: int) -> Path:
        assert self.folder is not None
        return self.folder / f"level_{number}.safetensors"
