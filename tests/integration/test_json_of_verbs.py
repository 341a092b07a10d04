"""`--json` means the same to every verb: the result, one document, alone on standard output."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from onesearch_fast.cli.main import discover_verbs, main
from onesearch_fast.data.readers.native import write_folder
from onesearch_fast.data.synthetic import make_synthetic
from onesearch_fast.files import read_json, write_json
from onesearch_fast.train.ablation import AblationRow
from onesearch_fast.train.config import PipelineConfig, smoke_config

UNTRAINED = replace(smoke_config(), stages=(), thoughts=None)

# The words of each verb after its name, in the folder of `world`, and a key of its document.
VERBS = {
    "ablate": (
        "--data data --config config.json --seeds 1 --num-beams 8 --out rows",
        "all queries",
    ),
    "align-embeddings": ("data --out aligned --steps 3 --min-similarity -1", "losses"),
    "bench": ("", "rows"),
    "build-sids": ("data --out new_sids --text-dim 8 --level-sizes 4,4 --opq none", "quality"),
    "demo": ("--data data --run run --num-beams 8 --cases 10", "onesearch"),
    "doctor": ("", "backends"),
    "encode-items": ("data --sids sids --out codes.parquet", "drift"),
    "evaluate": ("run/served --data data --tasks search --num-beams 8 --cases 10", "onesearch"),
    "export": ("run --out exported", "out"),
    "refit-sids": ("data --sids sids --out refitted", "kept"),
    "search": ("run/served mug --num-beams 8", "results"),
    "train": ("data --run run --config config.json", "served"),
    "validate-data": ("data", "statistics"),
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small log, its SIDs, and a run over it whose model has learnt nothing."""
    folder = tmp_path_factory.mktemp("world")
    write_folder(make_synthetic(seed=5, num_items=200, num_users=40).dataset, folder / "data")
    write_json(folder / "config.json", json.loads(json.dumps(UNTRAINED.to_json())))
    sizes = ["--text-dim", "8", "--level-sizes", "4,4", "--opq", "none"]
    assert main(["build-sids", str(folder / "data"), "--out", str(folder / "sids"), *sizes]) == 0
    words = ["--run", str(folder / "run"), "--config", str(folder / "config.json")]
    assert main(["train", str(folder / "data"), *words]) == 0
    return folder


@pytest.fixture
def short_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes minutes is tested elsewhere."""

    def only_row(config: PipelineConfig) -> list[AblationRow]:
        return [AblationRow("v1", config)]

    monkeypatch.setattr("onesearch_fast.train.ablation.ablation_rows", only_row)
    monkeypatch.setattr("onesearch_fast.train.suggest.suggest_config", lambda log: UNTRAINED)
    monkeypatch.setattr("onesearch_fast.cli.bench.suites", list)


def one_document(text: str) -> Any:
    """Refuses NaN and infinity, which JSON has not."""
    return json.loads(text, parse_constant=pytest.fail)


def test_every_verb_is_here() -> None:
    assert {verb.name for verb in discover_verbs()} == set(VERBS)


@pytest.mark.usefixtures("short_work")
@pytest.mark.parametrize("verb", VERBS)
def test_the_result_is_one_document_alone_on_stdout(
    verb: str, world: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(world)
    words, key = VERBS[verb]
    assert main([verb, *words.split(), "--json"]) == 0
    assert key in one_document(capfd.readouterr().out)


def test_an_export_shows_no_bars_of_others(
    world: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(world)
    assert main(["export", "run", "--out", "shown"]) == 0
    printed = capfd.readouterr()
    assert (printed.out, printed.err) == ("written to shown\n", "")


@pytest.mark.usefixtures("short_work")
@pytest.mark.parametrize("verb", ["demo", "evaluate"])
def test_a_file_named_takes_the_document_and_leaves_the_tables(
    verb: str, world: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(world)
    assert main([verb, *VERBS[verb][0].split(), "--json", f"{verb}.json"]) == 0
    assert "onesearch" in read_json(f"{verb}.json") and "onesearch" in capfd.readouterr().out
