"""The verb `search`: once, in batch, and one query a line."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from onesearch_fast.cli.main import main

SMALL = ["--num-beams", "20", "-k", "3"]


def lines_of(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def test_queries_are_answered_for_people(
    served_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["search", str(served_folder), "red kettle", "金色 mug", *SMALL]) == 0
    out = capsys.readouterr().out.splitlines()
    assert [line for line in out if not line.startswith(" ")] == ["red kettle", "金色 mug"]
    assert len(out) == 8 and "[item-" in out[1]


def test_queries_are_answered_for_machines(
    served_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    user = json.dumps({"profile": "x", "history": ["item-4"]})
    arguments = ["search", str(served_folder), "red kettle", "--user", user, "--json", *SMALL]
    assert main(arguments) == 0
    document = json.loads(capsys.readouterr().out)
    (result,) = document["results"]
    assert result["query"] == "red kettle" and len(result["hits"]) == 3
    assert set(result["hits"][0]) >= {"item_id", "score", "sid", "title", "price", "in_stock"}
    assert main(["search", str(served_folder), "--next-item", "--json", *SMALL]) == 0
    assert json.loads(capsys.readouterr().out)["results"][0]["query"] is None


def test_a_batch_goes_from_lines_to_lines(
    served_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    batch, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    batch.write_text('"red kettle"\n{"query": "mug", "user": {"history": ["item-1"]}}\n{}\n')
    arguments = ["search", str(served_folder), "--batch", str(batch), *SMALL]
    assert main(arguments) == 0
    printed = lines_of(capsys.readouterr().out)
    assert [line["query"] for line in printed] == ["red kettle", "mug", None]
    assert main([*arguments, "--out", str(out)]) == 0
    assert lines_of(out.read_text(encoding="utf-8")) == printed


def test_a_byte_order_mark_and_blank_lines_say_nothing(
    served_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    batch = tmp_path / "in.jsonl"
    batch.write_bytes(b'\xef\xbb\xbf"red kettle"\n\n"mug"\n \n')
    assert main(["search", str(served_folder), "--batch", str(batch), *SMALL]) == 0
    printed = lines_of(capsys.readouterr().out)
    assert [line["query"] for line in printed] == ["red kettle", "mug"]


def test_a_bad_line_is_named_and_nothing_is_written(
    served_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    batch, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    for bad in ("[" * 100_000, "{", '{"question": "mug"}', '"a \\ud800"', '""'):
        batch.write_text(f'"red kettle"\n{bad}\n')
        arguments = ["search", str(served_folder), "--batch", str(batch), "--out", str(out)]
        assert main([*arguments, *SMALL]) == 2
        assert "in.jsonl:2" in capsys.readouterr().err
    batch.write_bytes(b'"red kettle"\n"\xff"\n')
    assert main([*arguments, *SMALL]) == 2
    assert "in.jsonl:2" in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ["in.jsonl"]


def test_a_conversation_goes_on_after_a_bad_query(
    served_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("red kettle\n\n\udc80\nmug\n"))
    assert main(["search", str(served_folder), *SMALL]) == 0
    captured = capsys.readouterr()
    answered = [line for line in captured.out.splitlines() if not line.startswith(" ")]
    assert answered == ["red kettle", "mug"]
    assert "lone surrogate" in captured.err


def test_bytes_that_are_no_text_end_no_conversation(
    served_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    typed = io.TextIOWrapper(io.BytesIO(b"red kettle\n\xff\xfe\nmug\n"), encoding="utf-8")
    monkeypatch.setattr("sys.stdin", typed)
    assert main(["search", str(served_folder), *SMALL]) == 0
    captured = capsys.readouterr()
    answered = [line for line in captured.out.splitlines() if not line.startswith(" ")]
    assert answered == ["red kettle", "mug"]
    assert "lone surrogate" in captured.err and "query>" not in captured.err


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["-k", "0"], "-k:"),
        (["--num-beams", "0"], "--num-beams:"),
        (["mug", "--user", "[" * 100_000], "--user"),
        (["mug", "--batch", "x"], "one of QUERY"),
        (["mug", "--next-item"], "one of QUERY"),
        (["--batch", "x", "--json"], "--batch"),
        (["mug", "--out", "x"], "--out"),
        (["--json"], "--json"),
        (["mug", "--user", "{"], "--user"),
        (["mug", "--user", "[]"], "user"),
        (["mug", "-k", "0"], "k:"),
        (["mug", "--num-beams", "0"], "num-beams"),
        (["  "], "query"),
        (
            ["--batch", "no-such-file"],
            "--batch: expected a file to read, got no-such-file, which",
        ),
        (["--batch", "."], "--batch: expected a file to read, got the folder .; name a file"),
        (["--batch", "-", "--out", "."], "--out: expected a file to write, got the folder ."),
        (["mug", "-k", "1000000000000"], "-k: expected an integer of at least 1 and at most"),
        (["--filter", "price <"], "search: --filter: text: expected"),
        (["mug", "--filter", "colour < 3"], "search: --filter: where: expected one of the columns"),
    ],
)
def test_bad_arguments_are_refused(
    served_folder: Path, arguments: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["search", str(served_folder), *arguments]) == 2
    assert named in capsys.readouterr().err


def test_a_folder_alone_is_missing_and_no_query(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["search"])
    assert capsys.readouterr().err.endswith("are required: served\n")


def test_a_folder_that_is_no_model_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["search", str(tmp_path), "mug"]) == 2
    assert "manifest.json" in capsys.readouterr().err


def test_a_deadline_cuts_answers_short(
    served_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["search", str(served_folder), "red kettle", "--deadline-ms", "0", *SMALL]
    assert main(arguments) == 0
    out = capsys.readouterr().out.splitlines()
    assert len(out) == 5 and "cut short: 0 of 4 levels scored" in out[-1]
    assert main([*arguments, "--json"]) == 0
    (result,) = json.loads(capsys.readouterr().out)["results"]
    assert result["complete"] is False and len(result["hits"]) == 3
    assert main(["search", str(served_folder), "mug", "--deadline-ms", "-1"]) != 0


def test_times_are_told_when_asked_for(
    served_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["search", str(served_folder), "red kettle", "--stats", *SMALL]
    assert main(arguments) == 0
    assert "prefill" in capsys.readouterr().out.splitlines()[-1]
    assert main([*arguments, "--json"]) == 0
    (result,) = json.loads(capsys.readouterr().out)["results"]
    assert result["stats"]["generation"]["prefill"] > 0 and result["stats"]["encoding"] > 0


def test_an_item_is_explained(served_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["search", str(served_folder), "red kettle", "--num-beams", "4"]
    assert main([*arguments, "--why-not", "item-9999"]) == 2
    message = capsys.readouterr().err
    assert "--why-not: expected the id of an item of the model, got item-9999;" in message
    assert "did you mean item-" in message
    assert main([*arguments, "--why-not", "?"]) == 2
    assert "ids look like item-" in capsys.readouterr().err
    assert main([*arguments, "--why-not", "item-40", "--json"]) == 0
    (result,) = json.loads(capsys.readouterr().out)["results"]
    assert result["why_not"]["item_id"] == "item-40" and result["text"].startswith("item-40: ")
    assert len(result["why_not"]["generation"]["levels"]) == 4
    assert main(["search", str(served_folder), "--why-not", "item-1"]) != 0


def test_a_filter_is_a_condition_in_words(
    served_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["search", str(served_folder), "red kettle", "--json", *SMALL]
    assert main([*arguments, "--filter", 'price < 30 and category contains "mug"']) == 0
    (result,) = json.loads(capsys.readouterr().out)["results"]
    assert result["hits"] and all(hit["price"] < 30 for hit in result["hits"])
    assert main([*arguments, "--filter", "price <"]) != 0
    assert "position 7" in capsys.readouterr().err
    assert main([*arguments, "--filter", "price < 30", "--why-not", "item-80"]) == 0
    (result,) = json.loads(capsys.readouterr().out)["results"]
    assert result["why_not"]["generation"]["refused_by"] == ["price < 30"]


def test_past_items_of_another_catalogue_are_told(
    served_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    user = {"history": ["item-4", "elsewhere"]}
    arguments = ["search", str(served_folder), *SMALL]
    assert main([*arguments, "mug", "--user", json.dumps(user), "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["results"][0]["ignored_history"] == ["elsewhere"]
    told = "1 past item(s) not in the model's catalogue, left out: elsewhere"
    assert f"search: --user: {told}" in captured.err
    batch = tmp_path / "in.jsonl"
    batch.write_text(json.dumps({"query": "mug", "user": user}) + '\n"mug"\n')
    assert main([*arguments, "--batch", str(batch)]) == 0
    captured = capsys.readouterr()
    ignored = [line["ignored_history"] for line in lines_of(captured.out)]
    assert ignored == [["elsewhere"], []] and f"in.jsonl: {told}" in captured.err
