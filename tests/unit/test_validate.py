from __future__ import annotations

import json
from dataclasses import replace

import pytest

from onesearch_fast.cli.main import main
from onesearch_fast.data.readers.native import write_folder
from onesearch_fast.data.records import Dataset, Interaction, Item, User
from onesearch_fast.data.validate import title_language, validate_folder
from onesearch_fast.errors import DataError

DATA = Dataset(
    "shop",
    (
        Item("a", "red mug", "Bo", ("Home",), price=2.0),
        Item("b", "红色水杯 X1", None, ("Home",)),
        Item("c", "Bo 水杯"),
        Item("d", "", "Bo"),
    ),
    (User("u"), User("v"), User("idle")),
    (
        Interaction("u", 1, "b", "show", "mug", "1"),
        Interaction("u", 2, "a", "click", "mug", "1"),
        Interaction("u", 3, "a", "order", "mug", "1"),
        Interaction("u", 9, "b", "click", "cup", "2"),
        Interaction("v", 9, "b", "click"),
    ),
)


@pytest.fixture
def folder(tmp_path):
    write_folder(DATA, tmp_path / "shop")
    return tmp_path / "shop"


def break_rows(folder, count=3):
    with (folder / "interactions.jsonl").open("a", encoding="utf-8") as file:
        for _ in range(count):
            file.write('{"user_id": "u", "time": 1, "item_id": "zzz", "event": "click"}\n')


def test_statistics_of_a_sound_folder(folder):
    report = validate_folder(folder)
    assert report.ok and report.form == "native" and report.warnings == ()
    found = report.statistics
    assert found is not None
    assert (found.items, found.users, found.sessions, found.distinct_queries) == (4, 3, 3, 2)
    assert found.events == {"show": 1, "click": 3, "order": 1}
    assert (found.history_mean, found.history_median, found.history_max) == (1.0, 1.0, 2)
    assert found.users_with_two_events == 1
    assert (found.share_with_category, found.share_with_brand) == (0.5, 0.5)
    assert (found.share_with_price, found.share_in_log) == (0.25, 0.5)
    assert found.title_languages == {"latin": 1, "chinese": 1, "mixed": 1, "empty": 1}


@pytest.mark.parametrize(
    ("title", "language"),
    [
        ("Road Shoes", "latin"),
        ("Crème", "latin"),
        ("公路跑鞋", "chinese"),
        ("公路跑鞋 R2", "chinese"),
        ("Bo 水杯", "mixed"),
        ("123 !", "other"),
        ("кружка", "other"),
        ("  ", "empty"),
    ],
)
def test_title_language(title, language):
    assert title_language(title) == language


def test_problems_are_all_counted_and_the_first_are_kept(folder):
    break_rows(folder, 5)
    report = validate_folder(folder, max_problems=2)
    assert not report.ok
    assert report.num_problems == 5
    assert [problem.split(": ")[0] for problem in report.problems] == [
        "interactions.jsonl:6",
        "interactions.jsonl:7",
    ]
    assert report.statistics is not None and report.statistics.events["click"] == 3


def test_what_is_legal_but_doubtful_is_a_warning(tmp_path):
    write_folder(
        Dataset("x", (Item("a", "mug"),), (), (Interaction("u", 1, "a", "click"),)), tmp_path / "x"
    )
    with (tmp_path / "x" / "items.jsonl").open("a") as file:
        file.write('{"item_id": "b", "title": "cup", "categories": ["Home"]}\n')
    report = validate_folder(tmp_path / "x")
    assert report.ok
    assert [warning.split(":")[0] for warning in report.warnings] == [
        "items",
        "interactions",
        "interactions",
        "items",
    ]
    assert "categories" in report.warnings[0]


def test_a_form_without_a_scan_reports_its_first_problem(tmp_path):
    for name in ("items.tsv.gz", "sequences.tsv.gz"):
        (tmp_path / name).write_bytes(b"no gzip")
    report = validate_folder(tmp_path, order="canonical")
    assert report.form == "beauty2014" and report.num_problems == 1
    assert report.statistics is None
    assert "items.tsv.gz" in report.problems[0]


def test_an_empty_catalogue_is_a_problem_and_still_described(tmp_path):
    for name in ("items.jsonl", "interactions.jsonl"):
        (tmp_path / name).touch()
    report = validate_folder(tmp_path)
    assert report.num_problems == 1 and "at least one sound item" in report.problems[0]
    assert report.statistics is not None and report.statistics.history_max == 0


def test_bad_arguments(folder, tmp_path):
    with pytest.raises(ValueError, match="max_problems"):
        validate_folder(folder, max_problems=0)
    with pytest.raises(ValueError, match="order"):
        validate_folder(folder, order="canonical")
    with pytest.raises(DataError, match="expected a folder"):
        validate_folder(tmp_path / "absent")


def test_the_verb_prints_and_exits_by_what_it_finds(folder, capsys):
    assert main(["validate-data", str(folder)]) == 0
    sound = capsys.readouterr().out
    assert "items      4" in sound and sound.endswith("sound\n")
    break_rows(folder)
    assert main(["validate-data", str(folder), "--max-problems", "1"]) == 1
    broken = capsys.readouterr().out
    assert "interactions.jsonl:6" in broken and "and 2 more" in broken


def test_a_median_between_two_users_is_not_rounded(tmp_path, capsys):
    write_folder(replace(DATA, users=DATA.users[:2]), tmp_path / "shop")
    assert main(["validate-data", str(tmp_path / "shop")]) == 0
    assert "mean 1.5, median 1.5, longest 2" in capsys.readouterr().out


def test_the_verb_prints_one_json_document(folder, capsys):
    break_rows(folder)
    assert main(["validate-data", str(folder), "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["ok"] is False and document["num_problems"] == 3
    assert document["statistics"]["items"] == 4


def test_the_verb_refuses_what_is_no_data_folder(tmp_path, capsys):
    assert main(["validate-data", str(tmp_path)]) == 2
    assert "exactly one form" in capsys.readouterr().err
