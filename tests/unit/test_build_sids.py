"""build_semantic_ids and the verb build-sids: what is written, equal bits, refusals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from onesearch_fast.cli.main import main
from onesearch_fast.sid.build import build_semantic_ids
from onesearch_fast.sid.codebooks import Codebooks
from onesearch_fast.sid.config import SidConfig
from onesearch_fast.sid.keywords import Keyword, KeywordDictionary
from onesearch_fast.sid.text_encoder import load_text_encoder

NOUNS = ["desk lamp", "kettle", "wool scarf", "hand drill", "sofa", "tent", "mug", "rug", "台灯"]
WORDS = ["red", "green", "navy", "ivory", "teal", "oak", "steel", "mini", "folding", "轻便"]
TITLES = [f"{word} {noun}" for noun in NOUNS for word in WORDS]
TITLES += ["red kettle"] * 3  # one SID for four items
SMALL = SidConfig(text_dim=12, level_sizes=(8, 6), opq=(4, 3), iterations=5)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    items = [{"item_id": f"i{row}", "title": title} for row, title in enumerate(TITLES)]
    event = {"user_id": "u", "time": 1, "item_id": "i0", "event": "click"}
    for name, rows in (("items", items), ("interactions", [event])):
        text = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    return folder


def test_codes_of_the_catalogue_are_those_of_its_texts() -> None:
    sids = build_semantic_ids(TITLES, SMALL)
    assert sids.codebooks.level_sizes == (8, 6, 4, 3)
    assert sids.embeddings.shape == (len(TITLES), 12)
    np.testing.assert_array_equal(sids.codes, sids.encode(TITLES))
    np.testing.assert_array_equal(sids.codes[-1:], sids.encode(["red kettle"]))
    assert sids.quality().largest_bucket >= 4


def test_equal_texts_and_config_give_equal_bits() -> None:
    first, second = build_semantic_ids(TITLES, SMALL), build_semantic_ids(TITLES, SMALL)
    np.testing.assert_array_equal(first.codes, second.codes)
    np.testing.assert_array_equal(first.embeddings, second.embeddings)


@pytest.mark.parametrize("num_items", [1, 2, 5, 17, len(TITLES)])
def test_default_sizes_serve_any_catalogue(num_items: int) -> None:
    sids = build_semantic_ids(TITLES[:num_items])
    assert sids.codes.shape == (num_items, 5)


def test_no_opq_levels_when_none_are_asked_for() -> None:
    assert build_semantic_ids(TITLES, SidConfig(level_sizes=(8,), opq=())).codes.shape[1] == 1


def test_stages_are_told_in_order() -> None:
    stages: list[str] = []
    build_semantic_ids(TITLES, SMALL, stages.append)
    assert [stage.split()[0] for stage in stages] == [
        "text",
        "encoding",
        "level",
        "level",
        "levels",
        "codes",
    ]


def test_an_empty_catalogue_and_an_unknown_encoder_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one item"):
        build_semantic_ids([])
    with pytest.raises(ValueError, match="'tfidf' or an existing folder, got /no/folder"):
        build_semantic_ids(TITLES, SidConfig(encoder="/no/folder"))


OPTIONS = ["--level-sizes", "8,6", "--opq", "4,3", "--text-dim", "12"]


def test_the_verb_writes_what_the_function_gives(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "sids"
    assert main(["build-sids", str(data), "--out", str(out), *OPTIONS, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    table = pq.read_table(out / "sids.parquet").to_pydict()
    assert table["item_id"] == [f"i{row}" for row in range(len(TITLES))]
    encoder = load_text_encoder(out / "text_encoder")
    book = Codebooks.load(out / "codebooks.safetensors")
    np.testing.assert_array_equal(table["codes"], book.encode(encoder.encode(TITLES)))
    assert json.loads((out / "quality.json").read_text()) == document["quality"]
    assert document["quality"]["num_items"] == len(TITLES)
    fullest = document["largest"][0]
    assert fullest["num_items"] == document["quality"]["largest_bucket"]
    assert fullest["sid"].startswith("<a_")
    assert fullest["sid"].count("<c_") == 2


def test_the_verb_prints_quality_and_buckets_and_may_run_again_with_its_own_encoder(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "sids"
    command = ["build-sids", str(data), "--out", str(out), *OPTIONS]
    assert main(command) == 0
    text = capsys.readouterr().out
    assert "icr_item" in text
    assert "red kettle" in text
    encoder = ["--encoder", str(out / "text_encoder")]
    assert main([*command[:4], *OPTIONS, "--opq", "none", *encoder]) == 0
    assert Codebooks.load(out / "codebooks.safetensors").level_sizes == (8, 6)


def test_two_runs_write_equal_bytes(data: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        assert main(["build-sids", str(data), "--out", str(tmp_path / name), *OPTIONS]) == 0
    files = [path for path in (tmp_path / "a").rglob("*") if path.is_file()]
    assert len(files) == 6
    for path in files:
        other = tmp_path / "b" / path.relative_to(tmp_path / "a")
        assert path.read_bytes() == other.read_bytes(), path.name


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--level-sizes", "500"], "largest usable size is 90"),
        (["--encoder", "/no/folder"], "existing folder"),
        (["--text-dim", "0"], "dim"),
        (["--seed", "-1"], "TfidfEncoder.fit: seed: expected an integer in [0,"),
        (["--keywords", "/no/file"], "path: expected a file with one JSON object a line"),
        (["--report", __file__, *OPTIONS], "--report: expected a folder"),
    ],
)
def test_a_failed_run_says_why_and_leaves_nothing(
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    message: str,
) -> None:
    assert main(["build-sids", str(data), "--out", str(tmp_path / "sids"), *options]) == 2
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_another_folder_is_never_replaced(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(data.iterdir())
    assert main(["build-sids", str(data), "--out", str(data), *OPTIONS]) == 2
    assert "a new folder" in capsys.readouterr().err
    assert sorted(data.iterdir()) == before


def test_sizes_that_are_no_numbers_are_bad_usage(data: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["build-sids", str(data), "--out", str(tmp_path / "x"), "--level-sizes", "8,big"])
    assert stopped.value.code == 2


def test_real_catalogue_quality_is_near_the_published_anchor(data_folder: Path) -> None:
    """RQ-k-means + OPQ on good text vectors leaves few collisions; TF-IDF comes near to it."""
    from onesearch_fast.data.readers import read_dataset
    from onesearch_fast.data.records import item_text

    items = read_dataset(data_folder / "beauty2014").items
    quality = build_semantic_ids([item_text(item) for item in items]).quality()
    assert quality.level_use[:3] == (1.0, 1.0, 1.0)
    assert quality.icr_item > 0.8
    assert quality.largest_bucket < 40


def test_keywords_draw_texts_together_and_are_kept_with_the_encoder(tmp_path: Path) -> None:
    keywords = KeywordDictionary([Keyword("red", "color"), Keyword("wool", "material")])
    plain = build_semantic_ids(TITLES, SMALL)
    drawn = build_semantic_ids(TITLES, SMALL, keywords=keywords)
    red = [row for row, text in enumerate(TITLES) if "red" in text]
    assert (drawn.embeddings[red] @ drawn.embeddings[red].T).mean() > (
        plain.embeddings[red] @ plain.embeddings[red].T
    ).mean()
    drawn.encoder.save(tmp_path / "encoder")
    again = load_text_encoder(tmp_path / "encoder")
    np.testing.assert_array_equal(again.encode(TITLES), drawn.embeddings)
