"""The verbs `train` and `demo` refuse slips before any data is read, and data too small."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from onesearch_fast.cli.main import main
from onesearch_fast.data.readers.native import write_folder
from onesearch_fast.data.records import Dataset, Interaction, Item


@pytest.mark.parametrize(
    ("config", "options", "named"),
    [
        ('{"stagez": []}', [], "did you mean stages"),
        ('{"model": {"num_layers": 0}}', [], "num_layers"),
        ("{", [], "config.json"),
        ("{}", ["--minutes", "nan"], "minutes"),
        ("{}", ["--minutes", "-1"], "minutes"),
    ],
)
def test_settings_are_checked_first(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    config: str,
    options: list[str],
    named: str,
) -> None:
    file, run = tmp_path / "config.json", tmp_path / "run"
    file.write_text(config)
    words = ["train", str(tmp_path / "no-data"), "--run", str(run), "--config", str(file)]
    assert main([*words, *options]) == 2
    assert named in capsys.readouterr().err
    assert not run.exists()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--num-beams", "0"], "--num-beams"),
        (["--cases", "0"], "--cases"),
        (["--minutes", "nan"], "minutes"),
        (["--json", "."], "--json"),
    ],
)
def test_a_demo_checks_its_options_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], named: str
) -> None:
    run = tmp_path / "run"
    assert main(["demo", "--data", str(tmp_path / "no-data"), "--run", str(run), *options]) == 2
    assert named in capsys.readouterr().err
    assert not run.exists()


TITLES = ["red shoe", "blue lamp", "green mug", "old chair", "new desk", "tall tent"]
CLICKS = [(f"u{at % 5}", "click") for at in range(20)]


def write_log(
    folder: Path, titles: Sequence[str] = TITLES, events: Sequence[tuple[str, str]] = CLICKS
) -> str:
    """Items of these titles, and what users did: (user, event)."""
    items = tuple(Item(f"i{at}", title) for at, title in enumerate(titles))
    rows = (
        Interaction(user, 10_000 * at, f"i{at % len(items)}", event, "red")
        for at, (user, event) in enumerate(events)
    )
    write_folder(Dataset("small", items, interactions=tuple(rows)), folder)
    return str(folder)


@pytest.mark.parametrize(
    ("verb", "said"),
    [
        (["train"], "suggest_config: log: expected clicks or orders to learn from, got none; add"),
        (["demo", "--data"], "split: expected reported cases, got none in any task; the log needs"),
    ],
)
def test_a_log_without_clicks_is_refused_first(
    verb: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, run = write_log(tmp_path / "data", events=[("u", "show")]), tmp_path / "run"
    assert main([*verb, data, "--run", str(run)]) == 2
    assert said in capsys.readouterr().err
    assert not run.exists()


def test_a_demo_of_users_with_one_click_is_refused_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_log(tmp_path / "data", events=[(f"u{at}", "click") for at in range(20)])
    run = tmp_path / "run"
    assert main(["demo", "--data", data, "--run", str(run)]) == 2
    assert "the log needs users with two clicks or orders" in capsys.readouterr().err
    assert not run.exists()


@pytest.mark.parametrize("verb", [["train"], ["demo", "--data"]])
def test_too_few_items_for_a_trie_are_refused_first(
    verb: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_log(tmp_path / "data", ["red shoe", "blue lamp", "red shoe"])
    run = tmp_path / "run"
    assert main([*verb, data, "--run", str(run)]) == 2
    said = "items: expected 6 or more whose texts the encoder tells apart, got 2; add items"
    assert said in capsys.readouterr().err
    assert not run.exists()


def test_items_that_the_encoder_cannot_tell_apart_are_refused_before_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    titles = ["red shoe", "Red shoe", "red SHOE", "RED shoe", "RED SHOE", "blue lamp"]
    run = tmp_path / "run"
    assert main(["train", write_log(tmp_path / "data", titles), "--run", str(run)]) == 2
    assert "tells apart, got 2" in capsys.readouterr().err
    assert not list(run.glob("stage_*"))
