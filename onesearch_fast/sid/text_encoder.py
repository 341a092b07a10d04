"""What a text encoder is, and how a saved one is found again by its kind."""

from __future__ import annotations

import importlib
import os
import pkgutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from onesearch_fast import sid
from onesearch_fast.errors import FormatError, invalid
from onesearch_fast.files import read_json, write_json

SETTINGS_FILE = "text_encoder.json"
_MODULE_SUFFIX = "_encoder"


class TextEncoder(Protocol):
    """Turns texts into vectors. Every vector has length 1, or 0 for a text that says nothing."""

    @property
    def dim(self) -> int:
        """Width of the vectors."""

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """texts [n] -> float32 [n, dim], rows L2-normalised; a text without content gives zeros."""

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Writes the encoder into `folder` (made when absent) for `load_text_encoder`."""


_LOADERS: dict[str, Callable[[Path], TextEncoder]] = {}
T = TypeVar("T", bound=Any)


def register_text_encoder(kind: str) -> Callable[[type[T]], type[T]]:
    """Class decorator: `cls.load(folder)` opens folders whose settings name this `kind`."""

    def register(cls: type[T]) -> type[T]:
        _LOADERS[kind] = cls.load
        return cls

    return register


def load_text_encoder(folder: str | os.PathLike[str]) -> TextEncoder:
    """Opens an encoder written by `TextEncoder.save`; the kind in its settings picks the class.

    Kind `x` lives in `onesearch_fast/sid/x_encoder.py`, which is imported only when asked for.
    Raises FormatError when the folder is not an encoder or was altered.
    """
    settings = read_settings(folder)
    kind = settings.get("kind")
    if kind not in _LOADERS and kind in _kinds_of_this_package():
        importlib.import_module(f"{sid.__name__}.{kind}{_MODULE_SUFFIX}")
    if kind not in _LOADERS:
        known = sorted({*_LOADERS, *_kinds_of_this_package()})
        raise FormatError(f"{folder}/{SETTINGS_FILE}: kind {kind!r} is unknown; known are {known}")
    return _LOADERS[kind](Path(folder))


def _kinds_of_this_package() -> set[str]:
    names = {module.name for module in pkgutil.iter_modules(sid.__path__)}
    kinds = {name.removesuffix(_MODULE_SUFFIX) for name in names if name.endswith(_MODULE_SUFFIX)}
    return kinds - {"text"}


def write_settings(folder: str | os.PathLike[str], kind: str, settings: dict[str, Any]) -> None:
    """Writes `text_encoder.json`: the kind and what that kind needs to open its folder."""
    write_json(Path(folder) / SETTINGS_FILE, {"kind": kind, **settings})


def read_settings(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads `text_encoder.json`; raises FormatError when it is absent or not an object."""
    path = Path(folder) / SETTINGS_FILE
    if not path.is_file():
        raise FormatError(f"{folder}: no {SETTINGS_FILE}; it is not a saved text encoder")
    settings = read_json(path)
    if not isinstance(settings, dict):
        raise FormatError(f"{path}: expected a JSON object")
    return settings


def check_texts(where: str, texts: Sequence[str]) -> None:
    """Raises unless `texts` is a sequence of strings (and not one string)."""
    if isinstance(texts, str):
        raise invalid(where, "texts", "a sequence of strings", "one string", "wrap it in a list")
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise invalid(where, f"texts[{row}]", "a string", text, kind=TypeError)


def normalize_rows(x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """x / ||x||_2 by rows [n, dim]; a zero row stays zero."""
    norms = np.sqrt(np.einsum("nd,nd->n", x, x, dtype=np.float64))
    norms[norms == 0.0] = 1.0
    unit: npt.NDArray[np.float32] = (x / norms[:, None]).astype(np.float32)
    return unit
