"""What `benchmarks/gpu_suite.py` promises, as far as no GPU is needed for it."""

from __future__ import annotations

import importlib
import io
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from onesearch_fast.engine.requests import Hit

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def benchmarks() -> Iterator[Any]:
    """Imports a module of the folder, as its scripts import each other."""
    sys.path.insert(0, str(FOLDER))
    yield importlib.import_module
    sys.path.remove(str(FOLDER))


@pytest.fixture(scope="module")
def suite(benchmarks: Any) -> ModuleType:
    module: ModuleType = benchmarks("gpu_suite")
    return module


def rows_of(suite: ModuleType, stage: Any, seconds: float = 60) -> list[dict[str, Any]]:
    out = io.StringIO()
    suite.write_rows(stage, suite.Run(True, time.time() + seconds), out)
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_every_stage_has_an_end_within_eight_minutes(suite: ModuleType) -> None:
    assert list(suite.ENDS) == list(suite.STAGES)
    ends = list(suite.ENDS.values())
    assert ends == sorted(ends)
    assert ends[-1] < 8 * 60


@pytest.mark.parametrize(
    "module", ["gpu_operators", "gpu_steps", "gpu_index", "gpu_searches", "gpu_trained"]
)
def test_every_row_can_be_measured(benchmarks: Any, module: str) -> None:
    """On the CPU, in small: what a GPU is to run once, unattended, holds no slip of the pen."""
    target = benchmarks("gpu_timing").Target(dry=True)
    rows = [label | measure() for label, measure in benchmarks(module).measure(target)]
    assert rows
    json.dumps(rows)


def test_every_operator_with_a_gpu_kernel_has_a_row(benchmarks: Any) -> None:
    operators = benchmarks("gpu_operators")
    rows = [label for label, _ in operators.measure(benchmarks("gpu_timing").Target(dry=False))]
    kernels = FOLDER.parent / "onesearch_fast" / "kernels"
    files = [*kernels.glob("cuda/[a-z]*.py"), *kernels.glob("triton/[a-z]*.py")]
    names = {path.stem for path in files}
    assert "sid_embedding_bag" in names
    assert names <= {row["operator"] for row in rows}
    for operator in operators.with_gpu_kernels():
        for case in operators.served(operator):
            case.build(torch.bfloat16)


def test_a_program_is_stopped_before_the_end_of_its_stage(suite: ModuleType) -> None:
    def stage(run: Any) -> Any:
        code = "print('so far', flush=True); import time; time.sleep(60)"
        yield {}, lambda: suite.run_program(run, sys.executable, "-c", code)

    started = time.time()
    (row,) = rows_of(suite, stage, seconds=9)
    assert time.time() - started < 30
    assert "timed out\nso far" in row["error"]
    assert "KeyboardInterrupt" in row["error"]  # so it could tell what it knew


def test_a_row_that_fails_takes_no_other_with_it(suite: ModuleType) -> None:
    def stage(run: Any) -> Any:
        yield {"row": 1}, lambda: {"us": 2.0}
        yield {"row": 2}, lambda: {"us": 1 / 0}
        yield {"row": 3}, lambda: {"us": 3.0}

    first, second, third = rows_of(suite, stage)
    assert (first["us"], third["us"]) == (2.0, 3.0)
    assert second["error"].startswith("ZeroDivisionError")


def test_what_there_is_no_time_for_is_cut(suite: ModuleType) -> None:
    def stage(run: Any) -> Any:
        yield {"row": 1}, dict

    assert rows_of(suite, stage, seconds=-1) == [{"row": 1, "cut": True}]


def test_a_process_that_hangs_leaves_the_rows_before_it(
    suite: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    script = tmp_path / "suite.py"
    script.write_text(
        "import sys, time\n"
        "with open(sys.argv[sys.argv.index('--rows') + 1], 'w') as rows:\n"
        '    rows.write(\'{"us": 1}\\n{"us": \')\n'
        "    rows.flush()\n"
        "    time.sleep(60)\n"
    )
    monkeypatch.setattr(suite, "__file__", str(script))
    report = suite.Report("none", {})
    with (tmp_path / "log").open("w") as log:
        suite.run_stage(report, "steps", time.time() + 5, log)
        suite.run_stage(report, "leaks", time.time() - 1, log)
    assert report.stages == {"steps": [{"us": 1}]}
    assert report.failed == ["steps: stopped at the end of its time"]
    assert report.cut == ["leaks"]


def test_only_stages_that_time_nothing_run_together(suite: ModuleType) -> None:
    assert suite.groups([*suite.STAGES])[:3] == [["build"], [*suite.TOGETHER], ["operators"]]
    assert suite.groups(["steps", "leaks"]) == [["steps"], ["leaks"]]


def test_every_row_is_told_in_a_line(suite: ModuleType) -> None:
    rows = [{"batch": 8, "ours": {"median_us": 9.87, "p99_us": 12.0}}, {"error": "no\nmemory"}]
    lines = suite.summary(suite.Report("H100", {}, {"steps": rows}))
    assert lines[1:] == ["steps: batch=8 ours 9.9 us;", "steps: ERROR no\nmemory"]


def test_every_goal_is_about_a_row(benchmarks: Any) -> None:
    target = benchmarks("gpu_timing").Target(dry=False)
    goals = benchmarks("gpu_goals").GOALS
    for stage in {goal.stage for goal in goals}:
        labels = [label for label, _ in benchmarks(f"gpu_{stage}").measure(target)]
        for goal in goals:
            if goal.stage == stage:
                assert any(goal.label.items() <= label.items() for label in labels), goal.what


def test_a_goal_is_reached_missed_or_not_measured(benchmarks: Any) -> None:
    first, *_, faster = benchmarks("gpu_goals").steps()
    label = faster.label | {"cuda, graphed": {"median_us": 20.0}}
    rows = [
        label | {"STATIC, graphed": {"median_us": 300.0}, "STATIC, eager": {"median_us": 1.0}},
        faster.label | {"compiled": True, "STATIC, compiled, graphed": {"median_us": 200.0}},
    ]
    assert "against STATIC: 10 times, reached (at least 10 times)" in faster.told({"steps": rows})
    rows[1]["STATIC, compiled, graphed"]["median_us"] = 190.0
    assert "9.5 times, MISSED" in faster.told({"steps": rows})
    rows[0]["level"] = 1
    assert "20 us, MISSED (at most 15 us; floor 6.5 us)" in first.told({"steps": rows})
    for stages in ({}, {"steps": [first.label | {"error": "no memory"}]}):
        assert "not measured" in first.told(stages)
        assert "not measured" in faster.told(stages)


def test_attention_is_compared_with_the_formula(benchmarks: Any) -> None:
    operators = benchmarks("gpu_operators")
    torch.manual_seed(0)
    whole = operators.AttentionCase.random((2, 3, 300, 4, 2, 64), "cpu")
    alone = whole.without_own()
    tolerance = operators.ATTENTION_TOLERANCE
    for case in (whole, alone):
        torch.testing.assert_close(case.ours().float(), case.in_float32(), **tolerance)
    torch.testing.assert_close(alone.folded().float(), alone.in_float32(), **tolerance)
    assert not torch.allclose(whole.in_float32(), alone.in_float32(), **tolerance)


def test_rankings_are_compared_at_every_depth(benchmarks: Any) -> None:
    trained = benchmarks("gpu_trained")

    def hits(ids: str, score: float = 0.0) -> list[Any]:
        return [Hit(one, score, (), 0) for one in ids]

    assert trained.overlap(hits("abcd"), hits("abcd")) == 1
    assert trained.overlap(hits("ab"), hits("ba")) == 0.5
    assert trained.overlap(hits("ab"), hits("a")) == 0.75
    assert trained.overlap([], []) == 1
    assert trained.apart(hits("ab"), hits("bc", 0.5)) == 0.5
    assert trained.apart(hits("ab"), []) == 0


def test_without_a_gpu_nothing_is_run(
    suite: ModuleType, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suite, "no_gpu", lambda: True)
    monkeypatch.setattr(sys, "argv", ["gpu_suite.py"])
    assert suite.main() == 2
    assert "no GPU" in capsys.readouterr().err
