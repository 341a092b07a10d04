"""The served model folder: everything a search needs, with a manifest that proves it whole."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import onesearch_fast
from onesearch_fast.data.prompts import PromptEncoder
from onesearch_fast.data.tokenizer import SidTokenizer
from onesearch_fast.data.user_ids import QueryItems
from onesearch_fast.errors import FormatError, ServedModelError, invalid
from onesearch_fast.files import atomic_folder, read_json, sha256, write_json
from onesearch_fast.index.item_table import ItemTable
from onesearch_fast.index.sid_trie import SidTrie
from onesearch_fast.models import read_checkpoint
from onesearch_fast.nn import LongHistoryQFormer
from onesearch_fast.sid.codebooks import Codebooks
from onesearch_fast.sid.text_encoder import TextEncoder, load_text_encoder

if TYPE_CHECKING:
    import torch

CONFIG = "config.json"
TRIE = "sid_trie.bin"
CODEBOOKS = "codebooks.safetensors"
TEXT_ENCODER = "text_encoder"
PROMPTS = "prompts.json"
ITEMS = "items.parquet"
QUERY_ITEMS = "query_items.json"  # only where prompts hold user ids
LONG_HISTORY = "long_history.safetensors"  # only where prompts hold vectors of long histories
MANIFEST = "manifest.json"

# What no search does without; Hugging Face names the files of models and tokenizers itself.
_REQUIRED = (CONFIG, TRIE, CODEBOOKS, PROMPTS, ITEMS)

# What Hugging Face configs call the width of a model.
_WIDTH_KEYS = ("hidden_size", "n_embd", "d_model")

_FORMAT = "onesearch_fast.served_model"
_FORMAT_VERSION = 1
_REMEDY = "export the model again, or copy the folder again from where it is sound"


@dataclass(frozen=True)
class ServedModel:
    """A served model folder, opened. The model's weights stay in the folder for `Engine`.

    Attributes:
        folder: where it is; also a Hugging Face model and tokenizer folder.
        trie: item ids are rows of `items`.
        items: the catalogue.
        codebooks, text_encoder: from the text of a query to its codes.
        prompts: from query codes and a user to a prompt; holds the tokenizer.
        training_log: `TrainLog.content_hash` of what it was trained on, where its maker said it.
        query_items: what stands for the past of a new user; where prompts hold user ids.
        long_history: what makes the vectors of long histories; where prompts hold them.
    """

    folder: Path
    trie: SidTrie
    items: ItemTable
    codebooks: Codebooks
    text_encoder: TextEncoder
    prompts: PromptEncoder
    training_log: str | None = None
    query_items: QueryItems | None = None
    long_history: LongHistoryQFormer | None = None

    @staticmethod
    def write(
        folder: str | os.PathLike[str],
        model: torch.nn.Module,
        trie: SidTrie,
        items: ItemTable,
        codebooks: Codebooks,
        text_encoder: TextEncoder,
        prompts: PromptEncoder,
        training_log: str | None = None,
        query_items: QueryItems | None = None,
        long_history: LongHistoryQFormer | None = None,
    ) -> None:
        """Writes a folder, whole or not at all; a served model already there is replaced.

        Args:
            model: a `transformers` causal language model over the tokenizer of `prompts`.
            trie: its item ids must be the rows of `items`.

        Raises:
            ValueError: parts that do not belong together, or a folder that holds other things.
        """
        _refuse_other_folder(Path(folder))
        _check_parts(model, trie, items, codebooks, text_encoder, prompts)
        if (query_items is not None) != prompts.config.user_ids:
            expected = "clicked items of queries where, and only where, prompts hold user ids"
            raise _unfit("query_items", expected, type(query_items))
        fault = _long_history_fault(long_history, prompts, codebooks, read_checkpoint(model).config)
        if fault is not None:
            raise _unfit("long_history", *fault)
        with atomic_folder(folder) as temporary:
            _save_model(model, temporary, prompts.tokenizer)
            prompts.tokenizer.save(temporary)
            prompts.save(temporary / PROMPTS)
            trie.save(temporary / TRIE)
            codebooks.save(temporary / CODEBOOKS)
            text_encoder.save(temporary / TEXT_ENCODER)
            items.save(temporary / ITEMS)
            if query_items is not None:
                query_items.save(temporary / QUERY_ITEMS)
            if long_history is not None:
                long_history.save(temporary / LONG_HISTORY)
            _write_manifest(temporary, training_log)

    @classmethod
    def load(cls, folder: str | os.PathLike[str], verify: bool = True) -> ServedModel:
        """Opens a folder.

        With `verify` every byte is read and compared with the manifest, and no other file may be
        there. Without it only names and sizes are compared.

        Raises:
            ServedModelError: naming the missing, altered or unexpected file, and the remedy.
        """
        root = Path(folder)
        manifest = _Manifest.read(root)
        _check_files(root, manifest, verify)
        try:
            prompts = PromptEncoder.load(root / PROMPTS, SidTokenizer.load(root))
            items = ItemTable.load(root / ITEMS)
            served = cls(
                folder=root,
                trie=SidTrie.load(root / TRIE, verify=verify),
                items=items,
                codebooks=Codebooks.load(root / CODEBOOKS),
                text_encoder=load_text_encoder(root / TEXT_ENCODER),
                prompts=prompts,
                training_log=manifest.training_log,
                query_items=_query_items(root, manifest, prompts, len(items)),
                long_history=_long_history(root, manifest, prompts),
            )
        except FormatError as error:
            raise ServedModelError(f"{root}: {error}; {_REMEDY}") from error
        if served.trie.num_items != len(served.items):
            expected = f"the trie's {served.trie.num_items} items"
            raise _damaged(root, ITEMS, expected, f"{len(served.items)} rows")
        _check_code_ranges(root, prompts.tokenizer, served.trie)
        fault = _long_history_fault(
            served.long_history, prompts, served.codebooks, read_json(root / CONFIG)
        )
        if fault is not None:
            raise _damaged(root, LONG_HISTORY, *fault)
        return served


def _query_items(
    root: Path, manifest: _Manifest, prompts: PromptEncoder, num_items: int
) -> QueryItems | None:
    if not prompts.config.user_ids:
        return None
    if QUERY_ITEMS not in manifest.files:
        raise _damaged(root, MANIFEST, f"an entry for {QUERY_ITEMS}", "none")
    return QueryItems.load(root / QUERY_ITEMS, num_items)


def _long_history(
    root: Path, manifest: _Manifest, prompts: PromptEncoder
) -> LongHistoryQFormer | None:
    if prompts.config.long_history is None:
        return None
    if LONG_HISTORY not in manifest.files:
        raise _damaged(root, MANIFEST, f"an entry for {LONG_HISTORY}", "none")
    return LongHistoryQFormer.load(root / LONG_HISTORY).eval().requires_grad_(False)


def _long_history_fault(
    former: LongHistoryQFormer | None,
    prompts: PromptEncoder,
    codebooks: Codebooks,
    config: Mapping[str, Any],
) -> tuple[str, str] | None:
    """What was expected and what was got, unless `former` is what the other parts need."""
    asked = prompts.config.long_history
    if (former is None) != (asked is None):
        expected = "vectors of long histories where, and only where, prompts hold them"
        return expected, str(type(former))
    if former is None or asked is None:
        return None
    width = next(config[key] for key in _WIDTH_KEYS if key in config)
    sizes = codebooks.level_sizes[: codebooks.num_residual_levels]
    wanted = _vectors(asked.num_vectors, width, sizes)
    got = _vectors(former.num_vectors, former.hidden_size, former.level_sizes)
    return None if got == wanted else (wanted, got)


def _vectors(count: int, width: int, level_sizes: tuple[int, ...]) -> str:
    return f"{count} vectors of width {width} over levels of {level_sizes}"


def _check_parts(
    model: torch.nn.Module,
    trie: SidTrie,
    items: ItemTable,
    codebooks: Codebooks,
    text_encoder: TextEncoder,
    prompts: PromptEncoder,
) -> None:
    sizes = {
        "codebooks": codebooks.level_sizes,
        "prompts": prompts.tokenizer.level_sizes,
    }
    for argument, got in sizes.items():
        if tuple(got) != trie.level_sizes:
            raise _unfit(argument, f"the trie's level_sizes {trie.level_sizes}", tuple(got))
    if len(items) != trie.num_items:
        raise _unfit("items", f"the trie's {trie.num_items} items", len(items))
    ids = np.sort(trie.items(np.arange(trie.num_sids))[0])
    if not np.array_equal(ids, np.arange(len(items))):
        raise _unfit("trie", "the rows of items as item ids", "other ids")
    if text_encoder.dim != codebooks.dim:
        raise _unfit("text_encoder", f"the codebooks' {codebooks.dim} dimensions", text_encoder.dim)
    vocab = int(model.config.vocab_size)  # type: ignore[union-attr, arg-type]
    if vocab < prompts.tokenizer.vocab_size:
        expected = f"a vocabulary of at least the tokenizer's {prompts.tokenizer.vocab_size}"
        raise _unfit("model", expected, vocab)


def _save_model(model: torch.nn.Module, folder: Path, tokenizer: SidTokenizer) -> None:
    model.save_pretrained(folder)  # type: ignore[operator]
    config = read_json(folder / CONFIG)
    config["code_token_offsets"] = list(tokenizer.code_token_offsets)
    config["level_sizes"] = list(tokenizer.level_sizes)
    # What an encoder-decoder's decoder begins with; a decoder-only model begins with the prompt.
    config["decoder_prefix_ids"] = read_checkpoint(model).config.get("decoder_prefix_ids", [])
    write_json(folder / CONFIG, config)


def _check_code_ranges(folder: Path, tokenizer: SidTokenizer, trie: SidTrie) -> None:
    """Tokenizer, config and trie must mean the same tokens by the same codes."""
    if tokenizer.level_sizes != trie.level_sizes:
        expected = f"the tokenizer's level_sizes {tokenizer.level_sizes}"
        raise _damaged(folder, TRIE, expected, f"{trie.level_sizes}")
    offsets = list(tokenizer.code_token_offsets)
    got = read_json(folder / CONFIG).get("code_token_offsets")
    if got != offsets:
        raise _damaged(folder, CONFIG, f"the tokenizer's code_token_offsets {offsets}", f"{got}")


def _write_manifest(folder: Path, training_log: str | None) -> None:
    files = {
        name: {"bytes": (folder / name).stat().st_size, "sha256": sha256(folder / name)}
        for name in _file_names(folder)
    }
    manifest = {
        "format": _FORMAT,
        "version": _FORMAT_VERSION,
        "library_version": onesearch_fast.__version__,
        "training_log": training_log,
        "files": files,
    }
    write_json(folder / MANIFEST, manifest)


def _file_names(folder: Path) -> list[str]:
    """Every file below `folder` but the manifest and hidden ones, as relative POSIX paths."""
    names = (file.relative_to(folder) for file in folder.rglob("*") if file.is_file())
    return sorted(
        name.as_posix()
        for name in names
        if name.as_posix() != MANIFEST and not any(part.startswith(".") for part in name.parts)
    )


def _check_files(folder: Path, manifest: _Manifest, verify: bool) -> None:
    for name, known in manifest.files.items():
        path = folder / name
        if not path.is_file():
            raise _damaged(folder, name, "a file of the manifest", "no such file")
        size = path.stat().st_size
        if size != known.num_bytes:
            raise _damaged(folder, name, f"{known.num_bytes} bytes", f"{size} bytes")
        if verify and sha256(path) != known.sha256:
            raise _damaged(folder, name, "the checksum of the manifest", "an altered file")
    surplus = sorted(set(_file_names(folder)) - manifest.files.keys()) if verify else []
    if surplus:
        remedy = "move it out of the folder, or load with verify=False"
        raise _damaged(
            folder, surplus[0], "only the manifest's files", "an unexpected file", remedy
        )


@dataclass(frozen=True)
class _File:
    num_bytes: int
    sha256: str


@dataclass(frozen=True)
class _Manifest:
    files: dict[str, _File]
    training_log: str | None

    @classmethod
    def read(cls, folder: Path) -> _Manifest:
        path = folder / MANIFEST
        if not path.is_file():
            got = "no such file" if folder.is_dir() else "no such folder"
            remedy = "give the path of a served model folder"
            raise _damaged(folder, MANIFEST, "the manifest of a served model", got, remedy)
        try:
            value = read_json(path)
            found = f"{value['format']} version {value['version']}"
            files = {
                str(name): _File(int(entry["bytes"]), str(entry["sha256"]))
                for name, entry in value["files"].items()
            }
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise _damaged(folder, MANIFEST, "a manifest", repr(error)) from error
        expected = f"{_FORMAT} version {_FORMAT_VERSION}"
        if found != expected:
            remedy = "export the model again with this version of the library"
            raise _damaged(folder, MANIFEST, expected, found, remedy)
        absent = [name for name in _REQUIRED if name not in files]
        if absent:
            raise _damaged(folder, MANIFEST, f"an entry for {absent[0]}", "none")
        return cls(files, value.get("training_log"))


def _damaged(
    folder: Path, name: str, expected: str, got: str, remedy: str = _REMEDY
) -> ServedModelError:
    return invalid(f"served model {folder}", name, expected, got, remedy, ServedModelError)


def _refuse_other_folder(folder: Path) -> None:
    """What is replaced is deleted, so it must be what it is taken for."""
    if folder.is_dir() and any(folder.iterdir()) and not (folder / MANIFEST).is_file():
        expected = "a new folder, an empty one, or a served model to replace"
        got, remedy = f"{folder}, which holds other files", "choose another folder"
        raise invalid("ServedModel.write", "folder", expected, got, remedy)


def _unfit(argument: str, expected: str, got: object) -> ValueError:
    return invalid("ServedModel.write", argument, expected, got, "build the parts together")
