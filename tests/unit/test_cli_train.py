"""The verbs `train` and `demo` refuse slips before any data is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from onesearch_fast.cli.main import main


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
