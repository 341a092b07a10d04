from __future__ import annotations

import io
import json

import numpy as np
import pytest

from onesearch_fast.data.records import Item
from onesearch_fast.data.split import EvalCase, Split, TrainLog
from onesearch_fast.evaluate.output import write_report
from onesearch_fast.evaluate.protocol import evaluate
from onesearch_fast.evaluate.tables import plain_tables, print_tables, tables

NUM_ITEMS = 20


class Shifted:
    def __init__(self, name, shift):
        self.name, self.shift = name, shift

    def rank(self, cases, k):
        rows = (np.arange(k) + self.shift) % NUM_ITEMS
        return np.tile(rows, (len(cases), 1)).astype(np.int32)

    def case_values(self, cases):
        return {"valid_sid_rate": np.ones(len(cases))} if self.name == "onesearch" else {}


@pytest.fixture(scope="module")
def report():
    log = TrainLog(tuple(Item(f"i{n}", "t") for n in range(NUM_ITEMS)), ())
    cases = tuple(
        EvalCase(f"u{n}", None, (), "q", ["head", "tail"][n % 2], n % 12, "report", n, n)
        for n in range(36)
    )
    split = Split("tiny", log, {"search": cases})
    systems = [Shifted("off", 9), Shifted("onesearch", 5), Shifted("near", 1)]
    return evaluate({"search": systems}, split, ks=(1, 5, 10))


def test_the_best_system_stands_first_and_differences_are_against_ours(report):
    main = tables(report)[0]
    assert main.title == "search/tiny: 36 cases, quick table (one seed)"
    assert [row[0] for row in main.rows] == ["near", "onesearch", "off"]
    assert main.rows[main.highlighted][0] == "onesearch"
    hr = report.metrics["near"]["search/tiny"]["hr@10"]
    assert main.rows[0][1] == f"{hr[0]:.4f} [{hr[1]:.4f}, {hr[2]:.4f}]"
    assert main.heads[-1] == "onesearch - system, HR@10"
    assert main.rows[1][-1] == "-" and main.rows[2][-1].startswith("+")
    assert main.rows[1][main.heads.index("valid_sid_rate")] == "1.0000 [1.0000, 1.0000]"


def test_every_slice_family_has_its_table(report):
    titles = [table.title for table in tables(report)[1:]]
    assert titles == [
        f"search/tiny by {family}: HR@10 [95 %]"
        for family in ("query_kind", "query_frequency", "item_warmth", "user_warmth")
    ]
    kinds = tables(report)[1]
    assert kinds.heads == ("system", "head (n=18)", "tail (n=18)")


def test_plain_text_is_aligned_and_has_no_control_characters(report):
    stream = io.StringIO()
    print_tables(report, stream)
    text = stream.getvalue()
    assert text == plain_tables(report)
    assert "\x1b" not in text and text.isascii()
    block = text.split("\n\n")[0].splitlines()[1:]
    assert len({line.index("[") for line in block[1:]}) == 1


def test_a_terminal_gets_the_same_numbers(report):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    stream = Terminal()
    print_tables(report, stream)
    for row in tables(report)[0].rows:
        assert row[0] in stream.getvalue()


def test_files_are_written_whole(report, tmp_path):
    write_report(report, tmp_path / "run")
    found = {path.name for path in (tmp_path / "run").iterdir()}
    assert found == {
        "metrics.json",
        "report.json",
        "table.txt",
        "hr_search.png",
        "slices_search.png",
    }
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert set(metrics) == {"off", "onesearch", "near"}
    assert len(metrics["onesearch"]["search/tiny"]["hr@10"]) == 3
    extras = json.loads((tmp_path / "run" / "report.json").read_text())
    assert set(extras) == {"meta", "paired", "slices"}
    assert extras["slices"]["off"]["search/tiny"]["query_kind"]["head"]["num_cases"] == 18
    for name in ("hr_search.png", "slices_search.png"):
        assert (tmp_path / "run" / name).read_bytes().startswith(b"\x89PNG")
