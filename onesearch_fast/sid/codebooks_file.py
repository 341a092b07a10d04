"""The file of codebooks: safetensors with a checksum; docs/semantic_ids.md has it byte by byte."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from onesearch_fast.errors import FormatError
from onesearch_fast.files import atomic_path
from onesearch_fast.sid.codebooks import Codebooks
from onesearch_fast.sid.levels import Level, LevelFit

_FORMAT = "onesearch_fast.codebooks"
_FORMAT_VERSION = 4

Tensors = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class _Header:
    """What the tensors do not say."""

    normalize_residuals: bool
    num_residual_levels: int
    projecting: list[int]  # levels

    def as_text(self) -> str:
        about = {"format": _FORMAT, "version": _FORMAT_VERSION, **vars(self)}
        return json.dumps(about, sort_keys=True)


def write(path: str | os.PathLike[str], book: Codebooks) -> None:
    """Writes `book`, atomically."""
    from safetensors.numpy import save_file

    tensors = {name: np.ascontiguousarray(array) for name, array in _tensors(book).items()}
    header = _Header(
        book.normalize_residuals,
        book.num_residual_levels,
        [number for number, level in enumerate(book.levels) if level.project],
    ).as_text()
    about = {"header": header, "sha256": _checksum(tensors, header)}
    # One metadata key: safetensors writes several in an order that changes from run to run.
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, {"codebooks": json.dumps(about, sort_keys=True)})


def read(path: str | os.PathLike[str]) -> Codebooks:
    """Reads what `write` wrote; FormatError when it is anything else."""
    tensors, header = _read_checked(Path(path))
    levels = [
        Level(tensors[name], tensors.get(f"prices_{number}"), number in header.projecting)
        for number in range(len(tensors))
        if (name := f"centroids_{number}") in tensors
    ]
    fitted = None
    if "distortion" in tensors:
        fitted = [
            LevelFit(float(distortion), tensors[f"use_{number}"])
            for number, distortion in enumerate(tensors["distortion"])
        ]
    parts = levels[: header.num_residual_levels], levels[header.num_residual_levels :]
    return Codebooks(*parts, header.normalize_residuals, tensors.get("mean"), fitted)


def _tensors(book: Codebooks) -> Tensors:
    tensors: Tensors = {f"centroids_{i}": level.centroids for i, level in enumerate(book.levels)}
    for number, level in enumerate(book.levels):
        if level.prices is not None:
            tensors[f"prices_{number}"] = level.prices
    if book.mean is not None:
        tensors["mean"] = book.mean
    if book.fitted is not None:
        tensors["distortion"] = np.array([fit.distortion for fit in book.fitted], np.float32)
        tensors |= {f"use_{i}": fit.use for i, fit in enumerate(book.fitted)}
    return tensors


def _read_checked(path: Path) -> tuple[Tensors, _Header]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        about = json.loads(metadata.get("codebooks", "{}"))
        text = about.get("header", json.dumps(about))
        header = json.loads(text)
    except (SafetensorError, ValueError, TypeError, AttributeError) as error:
        raise FormatError(f"{path}: not a sound codebooks file: {error}") from error
    if header.get("format") != _FORMAT or header.get("version") != _FORMAT_VERSION:
        raise FormatError(
            f"{path}: expected format {_FORMAT} version {_FORMAT_VERSION}, "
            f"got {header.get('format')} version {header.get('version')}; fit and save it again"
        )
    if about.get("sha256") != _checksum(tensors, text):
        raise FormatError(f"{path}: content differs from its checksum; restore or fit it again")
    names = ("normalize_residuals", "num_residual_levels", "projecting")
    return tensors, _Header(**{name: header[name] for name in names})


def _checksum(tensors: Tensors, header: str) -> str:
    digest = hashlib.sha256(header.encode())
    for name in sorted(tensors):
        array = tensors[name]
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
