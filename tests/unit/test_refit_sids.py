"""The verbs encode-items and refit-sids on a small folder that build-sids wrote."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from onesearch_fast.cli.main import main

NOUNS = ["desk lamp", "kettle", "wool scarf", "hand drill", "sofa", "tent", "mug", "rug"]
WORDS = ["red", "green", "navy", "ivory", "teal", "oak", "steel", "mini", "folding"]
TITLES = [f"{word} {noun}" for noun in NOUNS for word in WORDS]


def write_items(folder: Path, titles: list[str]) -> Path:
    folder.mkdir()
    event = {"user_id": "u", "time": 1, "item_id": "i0", "event": "click"}
    items = [{"item_id": f"i{row}", "title": title} for row, title in enumerate(titles)]
    for name, rows in (("items", items), ("interactions", [event])):
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return folder


@pytest.fixture
def sids(tmp_path: Path) -> Path:
    data = write_items(tmp_path / "data", TITLES)
    options = ["--text-dim", "12", "--level-sizes", "8,6", "--opq", "4,3"]
    assert main(["build-sids", str(data), "--out", str(tmp_path / "sids"), *options]) == 0
    return tmp_path / "sids"


def test_encode_items_gives_the_codes_of_build_sids(
    sids: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    more = write_items(tmp_path / "more", [*TITLES, "purple kettle", "tiny tent"])
    command = ["encode-items", str(more), "--sids", str(sids), "--out", str(tmp_path / "new")]
    assert main([*command, "--json"]) == 0
    drift = json.loads(capsys.readouterr().out)["drift"]
    assert drift["num_vectors"] == len(TITLES) + 2 and len(drift["levels"]) == 4
    codes = pq.read_table(tmp_path / "new").to_pydict()["codes"]
    known = pq.read_table(sids / "sids.parquet").to_pydict()["codes"]
    np.testing.assert_array_equal(codes[: len(TITLES)], known)
    assert main(command) == 0
    assert "distortion" in capsys.readouterr().out


def test_refit_sids_keeps_the_levels_before(
    sids: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    more = write_items(tmp_path / "more", [*TITLES, "purple kettle", "tiny tent"])
    out = tmp_path / "refitted"
    command = ["refit-sids", str(more), "--sids", str(sids), "--out", str(out)]
    assert main([*command, "--from-level", "2", "--json"]) == 0
    kept = json.loads(capsys.readouterr().out)["kept"]
    assert kept[0] == 1.0 and len(kept) == 4
    codes = np.array(pq.read_table(out / "sids.parquet").to_pydict()["codes"])
    known = np.array(pq.read_table(sids / "sids.parquet").to_pydict()["codes"])
    np.testing.assert_array_equal(codes[: len(TITLES), 0], known[:, 0])
    assert main([*command, "--from-level", "2"]) == 0  # its own folder may be replaced
    assert "kept their first" in capsys.readouterr().out


@pytest.mark.parametrize("verb", ["encode-items", "refit-sids"])
def test_bad_folders_are_refused_and_nothing_is_written(
    verb: str, sids: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = str(tmp_path / "data"), tmp_path / "out"
    assert main([verb, data, "--sids", data, "--out", str(out)]) == 2
    assert "build-sids wrote" in capsys.readouterr().err
    (sids / "codebooks.safetensors").write_bytes(b"damaged")
    assert main([verb, data, "--sids", str(sids), "--out", str(out)]) == 2
    assert "codebooks.safetensors" in capsys.readouterr().err
    assert not out.exists()


def test_refit_sids_refuses_levels_that_are_not_there(
    sids: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["refit-sids", str(tmp_path / "data"), "--sids", str(sids)]
    assert main([*command, "--out", str(tmp_path / "out"), "--from-level", "5"]) == 2
    assert "from_level" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
