"""The served folder: whole, checked, open to `transformers`, refused when anything is wrong."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from onesearch_fast.data.records import Item
from onesearch_fast.engine import served_model
from onesearch_fast.engine.requests import SearchRequest
from onesearch_fast.engine.searcher import Searcher
from onesearch_fast.engine.served_model import ServedModel
from onesearch_fast.errors import ServedModelError
from onesearch_fast.files import sha256
from onesearch_fast.index.item_table import ItemTable
from onesearch_fast.index.sid_trie import SidTrie
from onesearch_fast.testing.random_models import random_model

EXPECTED_FILES = {
    "codebooks.safetensors",
    "config.json",
    "generation_config.json",
    "items.parquet",
    "manifest.json",
    "model.safetensors",
    "prompts.json",
    "sid_trie.bin",
    "text_encoder/text_encoder.json",
    "text_encoder/tfidf.safetensors",
    "text_encoder/vocabulary.json",
    "tokenizer.json",
    "tokenizer_config.json",
}


def files_below(folder: Path) -> set[str]:
    return {f.relative_to(folder).as_posix() for f in folder.rglob("*") if f.is_file()}


def test_the_folder_holds_what_it_should(served_folder: Path) -> None:
    assert files_below(served_folder) == EXPECTED_FILES
    manifest = json.loads((served_folder / "manifest.json").read_text())
    assert set(manifest["files"]) == EXPECTED_FILES - {"manifest.json"}
    for name, entry in manifest["files"].items():
        assert entry == {
            "bytes": (served_folder / name).stat().st_size,
            "sha256": sha256(served_folder / name),
        }


def test_a_folder_comes_back_as_it_was(served_folder: Path, served_parts: dict[str, Any]) -> None:
    served = ServedModel.load(served_folder)
    trie: SidTrie = served_parts["trie"]
    ranks = np.arange(trie.num_sids)
    assert np.array_equal(served.trie.codes(ranks), trie.codes(ranks))
    assert np.array_equal(served.trie.items(ranks)[0], trie.items(ranks)[0])
    assert served.items.item_ids == served_parts["items"].item_ids
    vectors = served.text_encoder.encode(["red kettle", "金色 mug"])
    assert np.array_equal(vectors, served_parts["text_encoder"].encode(["red kettle", "金色 mug"]))
    codes = served.codebooks.encode(vectors)
    assert np.array_equal(codes, served_parts["codebooks"].encode(vectors))
    prompt = served.prompts.search_prompt("someone", [], "red kettle", codes[0])
    assert prompt == served_parts["prompts"].search_prompt("someone", [], "red kettle", codes[0])


def test_transformers_opens_the_folder_as_it_is(
    served_folder: Path, served_parts: dict[str, Any]
) -> None:
    model = AutoModelForCausalLM.from_pretrained(served_folder)
    for name, tensor in served_parts["model"].state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor)
    tokenizer = AutoTokenizer.from_pretrained(served_folder)
    ours = served_parts["prompts"].tokenizer
    assert model.config.code_token_offsets == list(ours.code_token_offsets)
    assert model.config.level_sizes == [8, 6, 4, 4]
    assert model.config.decoder_prefix_ids == []
    offsets = model.config.code_token_offsets
    names = tokenizer.convert_ids_to_tokens([offsets[0] + 3, offsets[1] + 2, offsets[3]])
    assert names == ["<a_3>", "<b_2>", "<c_4>"]
    assert tokenizer("red kettle")["input_ids"] == ours.encode_text("red kettle")


def test_writing_leaves_the_model_alone_and_replaces_a_folder(
    served_parts: dict[str, Any], tmp_path: Path
) -> None:
    config = dict(served_parts["model"].config.to_dict())
    folder = tmp_path / "served"
    ServedModel.write(folder, **served_parts)
    (folder / "old.txt").write_text("old")
    ServedModel.write(folder, **served_parts)
    assert files_below(folder) == EXPECTED_FILES
    assert served_parts["model"].config.to_dict() == config
    ServedModel.load(folder)


@pytest.fixture
def copy(served_folder: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "copy"
    shutil.copytree(served_folder, folder)
    return folder


@pytest.mark.parametrize("name", sorted(EXPECTED_FILES))
def test_a_missing_file_is_named(copy: Path, name: str) -> None:
    (copy / name).unlink()
    for verify in (True, False):
        with pytest.raises(ServedModelError, match=rf"{name}: .*no such file; \w+"):
            ServedModel.load(copy, verify=verify)


@pytest.mark.parametrize("name", sorted(EXPECTED_FILES - {"manifest.json"}))
def test_a_flipped_bit_is_named(copy: Path, name: str) -> None:
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(ServedModelError, match=rf"{name}: .*an altered file; \w+"):
        ServedModel.load(copy)


def test_a_cut_file_is_named_without_reading_it(copy: Path) -> None:
    content = (copy / "sid_trie.bin").read_bytes()
    (copy / "sid_trie.bin").write_bytes(content[:-1])
    with pytest.raises(ServedModelError, match=rf"sid_trie.bin: .*got {len(content) - 1} bytes"):
        ServedModel.load(copy, verify=False)


def test_an_unexpected_file_is_named(copy: Path) -> None:
    (copy / ".DS_Store").write_text("what file browsers leave behind")
    ServedModel.load(copy)
    (copy / "text_encoder" / "extra.bin").write_text("?")
    with pytest.raises(ServedModelError, match=r"text_encoder/extra\.bin: .*unexpected"):
        ServedModel.load(copy)
    ServedModel.load(copy, verify=False)


def no_json(_: dict[str, Any]) -> str:
    return "not json"


def a_list(_: dict[str, Any]) -> str:
    return "[1, 2]"


def newer(manifest: dict[str, Any]) -> str:
    return json.dumps(manifest | {"version": 2})


def without_sizes(manifest: dict[str, Any]) -> str:
    return json.dumps(manifest | {"files": {"config.json": {}}})


def without_trie(manifest: dict[str, Any]) -> str:
    del manifest["files"]["sid_trie.bin"]
    return json.dumps(manifest)


@pytest.mark.parametrize("edit", [no_json, a_list, newer, without_sizes, without_trie])
def test_a_bad_manifest_is_refused(copy: Path, edit: Callable[[dict[str, Any]], str]) -> None:
    path = copy / "manifest.json"
    path.write_text(edit(json.loads(path.read_text())))
    with pytest.raises(ServedModelError, match=r"manifest\.json"):
        ServedModel.load(copy)


def test_what_is_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ServedModelError, match="no such folder"):
        ServedModel.load(tmp_path / "nowhere")
    with pytest.raises(ServedModelError, match="no such file"):
        ServedModel.load(tmp_path)


def test_parts_that_do_not_belong_together_are_refused(
    served_parts: dict[str, Any], catalogue: tuple[Item, ...], tmp_path: Path
) -> None:
    trie: SidTrie = served_parts["trie"]
    codes = trie.codes(np.arange(trie.num_sids))
    ranks = np.repeat(np.arange(trie.num_sids), np.diff(trie.items(np.arange(trie.num_sids))[1]))
    ids = 1000 + np.arange(trie.num_items)
    wrong = {
        "items": ItemTable.build(catalogue[:-1]),
        "trie": SidTrie.build(codes[ranks], trie.level_sizes, item_ids=ids),
        "codebooks": SidTrie.build(codes, (8, 6, 4, 5)),  # its level_sizes are what is looked at
        "model": random_model("qwen3", 300),
    }
    for argument, part in wrong.items():
        with pytest.raises(ValueError, match=f"ServedModel.write: {argument}"):
            ServedModel.write(tmp_path / "served", **(served_parts | {argument: part}))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_other_things_is_not_replaced(
    served_parts: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match="holds other files; choose another folder"):
        ServedModel.write(tmp_path, **served_parts)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"
    (tmp_path / "empty").mkdir()
    ServedModel.write(tmp_path / "empty", **served_parts)
    ServedModel.load(tmp_path / "empty")


def test_the_folder_remembers_the_log_it_was_trained_on(served_parts, tmp_path):
    ServedModel.write(tmp_path / "served", **served_parts, training_log="a" * 64)
    assert ServedModel.load(tmp_path / "served").training_log == "a" * 64


def test_an_encoder_decoder_is_served_with_its_start_tokens(
    served_parts: dict[str, Any], tmp_path: Path
) -> None:
    vocab = served_parts["model"].config.vocab_size
    model = random_model("bart", vocab, max_positions=200)
    model.generation_config.forced_bos_token_id = 1  # type: ignore[union-attr]
    ServedModel.write(tmp_path / "served", **(served_parts | {"model": model}))
    config = json.loads((tmp_path / "served" / "config.json").read_text())
    assert config["decoder_prefix_ids"] == [2, 1]
    searcher = Searcher.load(tmp_path / "served", dtype="float32")
    (hits,) = searcher.search([SearchRequest("red kettle")], k=5)
    assert len(hits) == 5


def test_parts_that_mean_other_tokens_by_a_code_are_refused(copy: Path) -> None:
    """As when a config is edited and the manifest made anew."""
    config = json.loads((copy / "config.json").read_text())
    config["code_token_offsets"][2] += 1
    (copy / "config.json").write_text(json.dumps(config))
    served_model._write_manifest(copy, None)
    with pytest.raises(ServedModelError, match="tokenizer's code_token_offsets"):
        ServedModel.load(copy)


def test_a_trie_of_another_tokenizer_is_refused(copy: Path) -> None:
    trie = SidTrie.build(
        [[0, 0, 0, 0]] * SidTrie.load(copy / "sid_trie.bin").num_items, (8, 6, 4, 5)
    )
    trie.save(copy / "sid_trie.bin")
    served_model._write_manifest(copy, None)
    with pytest.raises(ServedModelError, match="tokenizer's level_sizes"):
        ServedModel.load(copy)
