from __future__ import annotations

import json
from collections.abc import Iterator
from types import ModuleType

import pytest

from onesearch_fast.cli import bench
from onesearch_fast.cli.bench import Row
from onesearch_fast.cli.benches import constrained_beam_step, sid_trie
from onesearch_fast.cli.main import main
from onesearch_fast.testing import Timing


@pytest.fixture
def two_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    def measure() -> Iterator[Row]:
        yield Row("step", "small", Timing(1.0, 2.0), "reference", Timing(8.0, 10.0))
        yield Row("build", "large", Timing(1e6, 2e6), "numpy", Timing(1e6, 1e6))

    monkeypatch.setattr(bench, "measure", measure)


@pytest.mark.usefixtures("two_rows")
def test_text_is_one_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench"]) == 0
    header, step, build = capsys.readouterr().out.splitlines()
    assert len(header) == len(step) == len(build)
    assert step.split() == ["step", "small", "0.002", "reference", "0.010", "5.0", "x"]
    assert build.split() == ["build", "large", "2000.000", "numpy", "1000.000", "0.5", "x"]


@pytest.mark.usefixtures("two_rows")
def test_json_is_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["rows"][0]["ours"] == {"min_us": 1.0, "median_us": 2.0}
    assert found["machine"]["cpu"]["kernels"]


def test_suites_are_found() -> None:
    found = bench.suites()
    assert sid_trie in found
    assert constrained_beam_step in found
    assert all(callable(suite.rows) for suite in found)


@pytest.mark.parametrize("suite", [sid_trie, constrained_beam_step])
def test_the_first_row_is_measured(suite: ModuleType) -> None:
    row = next(suite.rows())
    assert row.times_faster > 0
