"""Checkpoints: a config and named tensors, of a Hugging Face folder or of a module in memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from onesearch_fast.errors import FormatError, invalid
from onesearch_fast.files import read_json

CONFIG_FILE = "config.json"
GENERATION_FILE = "generation_config.json"
SINGLE_FILE = "model.safetensors"
# What is trained as a part of a module and served from a file of its own.
_BESIDE = "long_history."
INDEX_FILE = "model.safetensors.index.json"


@dataclass(frozen=True)
class Checkpoint:
    """A model's config as a plain mapping, and its tensors, each read when asked for.

    Attributes:
        config: what config.json holds; an encoder-decoder's also its `decoder_prefix_ids`.
        shapes: name -> shape of every tensor.
        tensor: name -> the tensor; not to be written to.
    """

    config: Mapping[str, Any]
    shapes: Mapping[str, tuple[int, ...]]
    tensor: Callable[[str], torch.Tensor]

    def renamed(self, rename: Callable[[str], str | None]) -> Checkpoint:
        """The same tensors under other names; None leaves one out.

        Where several get one name, being tied, one that ended in it before stands for all.
        """
        sources: dict[str, str] = {}
        for name in self.shapes:
            new = rename(name)
            if new is not None and (new not in sources or name.endswith(new)):
                sources[new] = name
        shapes = {new: self.shapes[name] for new, name in sources.items()}
        return Checkpoint(self.config, shapes, lambda new: self.tensor(sources[new]))


def read_checkpoint(
    source: str | os.PathLike[str] | torch.nn.Module, allow_download: bool = False
) -> Checkpoint:
    """Opens a checkpoint; what is no folder is a hub id, fetched only with `allow_download`."""
    if isinstance(source, torch.nn.Module):
        return _from_module(source)
    if not isinstance(source, str | os.PathLike):
        expected = "the path of a Hugging Face folder, or a transformers module"
        remedy = "the model comes first, the trie second"
        raise invalid("read_checkpoint", "source", expected, type(source), remedy, TypeError)
    return _from_folder(_local_folder(source, allow_download))


def _from_module(module: torch.nn.Module) -> Checkpoint:
    config = getattr(module, "config", None)
    if config is None or not hasattr(config, "to_dict"):
        expected = "a transformers causal language model (a module with .config)"
        raise invalid("read_checkpoint", "module", expected, type(module), kind=TypeError)
    defaults = getattr(module, "generation_config", None)
    generation = {} if defaults is None else defaults.to_dict()
    state = {n: tensor for n, tensor in module.state_dict().items() if not n.startswith(_BESIDE)}
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    named = _with_start_tokens(config.to_dict(), generation)
    return Checkpoint(named, shapes, lambda name: state[name])


def _local_folder(source: str | os.PathLike[str], allow_download: bool) -> Path:
    folder = Path(source)
    if folder.is_dir():
        return folder
    if not allow_download:
        remedy = "give the path of a Hugging Face folder, or pass allow_download=True for a hub id"
        raise invalid("read_checkpoint", "folder", "an existing folder", str(source), remedy)
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(str(source), allow_patterns=["*.json", "*.safetensors"]))


def _from_folder(folder: Path) -> Checkpoint:
    from safetensors import safe_open

    files = _tensor_files(folder)
    config = _read_config(folder)
    readers: dict[Path, Any] = {
        file: safe_open(file, framework="pt") for file in sorted(set(files.values()))
    }
    shapes = {
        name: tuple(readers[file].get_slice(name).get_shape()) for name, file in files.items()
    }
    return Checkpoint(config, shapes, lambda name: readers[files[name]].get_tensor(name))


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG_FILE
    if not path.is_file():
        remedy = "save the model with save_pretrained"
        raise invalid("read_checkpoint", str(folder), CONFIG_FILE, "no such file", remedy)
    defaults = folder / GENERATION_FILE
    generation = _read_object(defaults) if defaults.is_file() else {}
    return _with_start_tokens(_read_object(path), generation)


def _read_object(path: Path) -> dict[str, Any]:
    content = read_json(path)
    if not isinstance(content, dict):
        got = type(content)
        raise invalid("read_checkpoint", str(path), "a JSON object", got, kind=FormatError)
    return content


def _with_start_tokens(config: dict[str, Any], generation: Mapping[str, Any]) -> dict[str, Any]:
    """The config of an encoder-decoder with its `decoder_prefix_ids`.

    Unless it names them: what `transformers` generate begins with, that is the decoder's start
    token, and the token that it forces to be the first.
    """
    if not config.get("is_encoder_decoder") or config.get("decoder_prefix_ids"):
        return config
    keys = ("decoder_start_token_id", "forced_bos_token_id")
    given = (generation.get(key, config.get(key)) for key in keys)
    return config | {"decoder_prefix_ids": [token for token in given if token is not None]}


def _tensor_files(folder: Path) -> dict[str, Path]:
    """Name of each tensor -> the file that holds it."""
    index, single = folder / INDEX_FILE, folder / SINGLE_FILE
    if index.is_file():
        named = _sharded(index)
        for file in sorted(set(named.values())):
            _names_in(file)
        return named
    if single.is_file():
        return dict.fromkeys(_names_in(single), single)
    expected = f"{SINGLE_FILE} or {INDEX_FILE}"
    remedy = "save the model with save_pretrained(safe_serialization=True)"
    raise invalid("read_checkpoint", str(folder), expected, "neither", remedy)


def _sharded(index: Path) -> dict[str, Path]:
    content = read_json(index)
    weight_map = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(weight_map, dict) or not weight_map:
        expected = "a weight_map from tensor names to files"
        raise invalid("read_checkpoint", str(index), expected, weight_map, kind=FormatError)
    outside = [file for file in weight_map.values() if Path(str(file)).name != file]
    if outside:
        expected = "files of the same folder"
        raise invalid("read_checkpoint", str(index), expected, outside[0], kind=FormatError)
    return {name: index.parent / file for name, file in weight_map.items()}


def _names_in(file: Path) -> list[str]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as reader:
            return list(reader.keys())
    except (SafetensorError, FileNotFoundError) as error:
        remedy = "fetch or export the checkpoint again"
        raise invalid(
            "read_checkpoint", str(file), "a safetensors file", str(error), remedy, FormatError
        ) from error
