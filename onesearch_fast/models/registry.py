"""The table of architectures: `model_type` -> class."""

from __future__ import annotations

import importlib
import os
import pkgutil
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch

from onesearch_fast.errors import invalid
from onesearch_fast.models.checkpoint import Checkpoint, read_checkpoint
from onesearch_fast.models.decoder import DecoderModel
from onesearch_fast.models.layers import New

# Builds an empty model (weights allocated, not filled) from a Hugging Face config.
Builder = Callable[[Mapping[str, Any], New], DecoderModel]
B = TypeVar("B", bound=Builder)

_builders: dict[str, Builder] = {}


def register(*model_types: str) -> Callable[[B], B]:
    """Decorator: serves these `model_type`s with the decorated builder."""

    def add(builder: B) -> B:
        _builders.update(dict.fromkeys(model_types, builder))
        return builder

    return add


def model_types() -> tuple[str, ...]:
    """Every `model_type` that can be served."""
    package = importlib.import_module("onesearch_fast.models")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"onesearch_fast.models.{module.name}")  # architectures register
    return tuple(sorted(_builders))


def load_model(
    source: str | os.PathLike[str] | torch.nn.Module | Checkpoint,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    allow_download: bool = False,
    quantization: str | None = None,
) -> DecoderModel:
    """A served model with the weights of a Hugging Face folder or module, which stays untouched.

    quantization: None, or "int8" for products of layers in 8 bits, see `ops.int8_linear`.

    Raises:
        ValueError: the folder is no checkpoint, or its architecture, or an option of it, is not
            served, or does not
            come in the quantization asked for.
    """
    checkpoint = (
        source if isinstance(source, Checkpoint) else read_checkpoint(source, allow_download)
    )
    model = _empty_model(checkpoint.config, New(dtype, torch.device(device), quantization))
    model.load(checkpoint)
    return model


def check_served(config: Mapping[str, Any]) -> None:
    """Raises ValueError where `load_model` would for this Hugging Face config; takes no memory."""
    _empty_model(config, New(torch.float32, torch.device("meta")))


def weight_bytes(
    config: Mapping[str, Any], dtype: torch.dtype, quantization: str | None = None
) -> int:
    """`DecoderModel.nbytes` of what `load_model` would make of this config; takes no memory."""
    return _empty_model(config, New(dtype, torch.device("meta"), quantization)).nbytes


def _empty_model(config: Mapping[str, Any], new: New) -> DecoderModel:
    model_type, known = config.get("model_type"), model_types()
    if model_type not in known:
        remedy = "register the architecture with onesearch_fast.models.register"
        raise invalid("load_model", "model_type", f"one of {', '.join(known)}", model_type, remedy)
    return _builders[model_type](config, new)
