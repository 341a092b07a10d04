"""The ablation: every row from shared steps, resumed without work, one table."""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from onesearch_fast.cli.main import main
from onesearch_fast.data.split import EvalCase, leave_last_out
from onesearch_fast.data.synthetic import make_synthetic
from onesearch_fast.evaluate.ablation import RowValues, compare_rows, hard_cases
from onesearch_fast.train.ablation import ablation_config, ablation_rows, small_ablation_config
from onesearch_fast.train.config import PipelineConfig, smoke_config
from onesearch_fast.train.pipeline import run_pipeline
from onesearch_fast.train.stages import find_stage

NAMES = ["v1", "+ cot tasks", "+ self-distillation", "+ r-drop", "+ fgm", "+ focal"]
NAMES += ["+ grpo", "+ tpma", "full v2"]


def test_all_rows_are_trained_once_and_compared(tmp_path: Path, capsys) -> None:
    words = ["ablate", "--small", "--seeds", "1", "--out", str(tmp_path)]
    assert main(words) == 0
    tables = json.loads((tmp_path / "ablation.json").read_text())
    rows = tables["all queries"]["rows"]
    assert [row["row"] for row in rows] == [*NAMES, "full v2"]
    assert [row["against"] for row in rows] == [None, *NAMES[:-1], "v1"]
    parts = {name: table["cases"] for name, table in tables.items()}
    assert parts["all queries"] == parts["users of the log"] + parts["newcomers"]
    assert parts["all queries"] > parts["hard queries"] > 0 and parts["newcomers"] > 10
    # What rows have in common is the same file.
    trunk = [
        tmp_path / "seed_0" / run / "stage_2_cooccurrence" / "model.safetensors"
        for run in ("cot_tasks", "focal", "full_v2")
    ]
    assert len({path.stat().st_ino for path in trunk}) == 1
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")}
    assert main(words) == 0
    after = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")}
    assert before == after
    assert json.loads((tmp_path / "ablation.json").read_text()) == tables
    check_no_trace_of_newcomers(tmp_path / "seed_0" / "v1")


def check_no_trace_of_newcomers(run: Path) -> None:
    """What is served has the bytes of a run that knows of no newcomers."""
    shop = make_synthetic(num_items=200, num_users=60, sessions_per_user=5.0)
    alone = run_pipeline(leave_last_out(shop.dataset), small_ablation_config(), run / "alone")
    files = [path for path in sorted((run / "served").rglob("*")) if path.is_file()]
    assert any(path.name == "model.safetensors" for path in files)
    for path in files:
        same = alone.served_folder / path.relative_to(run / "served")
        assert path.read_bytes() == same.read_bytes(), path


@pytest.mark.parametrize("base", [ablation_config(), small_ablation_config()])
def test_each_row_adds_one_thing(base) -> None:
    rows = list(ablation_rows(base))
    assert [row.name for row in rows] == NAMES
    assert rows[0].config == base
    for row in rows:
        for stage in row.config.stages:
            find_stage(stage.name, stage.tasks)
    for one, other in pairwise(rows[1:6]):
        assert one.config.stages[:2] == other.config.stages[:2]
        added = vars(other.config.stages[2].objective).items()
        kept = vars(one.config.stages[2].objective)
        changed = {name for name, value in added if value != kept[name]}
        assert len(changed - {"dropout"}) == 1


@pytest.mark.parametrize(
    ("base", "complaint"),
    [
        (PipelineConfig(), r"stages: expected \('alignment', .* got \(\)"),
        (smoke_config(), r"objective: expected nothing that rows add, got some in \['personali"),
    ],
)
def test_a_base_that_is_not_v1_is_refused(base, complaint) -> None:
    with pytest.raises(ValueError, match=complaint):
        next(ablation_rows(base))


def case(user: str, kind: str) -> EvalCase:
    return EvalCase(user, None, (), "query", kind, 0, "report", 1, 1)


def test_differences_are_paired_over_seeds_and_users() -> None:
    cases = [case("u", "head"), case("u", "negation"), case("v", "head")]
    values = {
        "a": [[0.0, 1.0, 0.0], [0.0, 0.0, 0.0]],
        "b": [[1.0, 1.0, 0.0], [1.0, 0.0, 0.0]],
        "c": [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]],
    }
    rows = [
        RowValues(name, dict.fromkeys(("hr@10", "mrr@10", "ndcg@10"), np.array(of)), 1.0, 2.0)
        for name, of in values.items()
    ]
    compared = compare_rows(rows, cases)
    assert [(one.name, one.against) for one in compared] == [
        ("a", None),
        ("b", "a"),
        ("c", "b"),
        ("c", "a"),
    ]
    assert compared[1].differences["hr@10"][0] == pytest.approx(1 / 3)
    value, low, high = compared[3].differences["hr@10"]
    # u gains 1.5 of 2 cases, v 1 of 1: resamples of users lie between 3/4 and 1.
    assert value == pytest.approx(2.5 / 3)
    assert (low, high) == (pytest.approx(0.75), pytest.approx(1.0))
    assert hard_cases(cases) == [1]


def test_values_of_other_cases_are_refused() -> None:
    row = RowValues("a", {"hr@10": np.zeros((1, 3))}, 1.0, 1.0)
    with pytest.raises(ValueError, match="compare_rows: a: expected"):
        compare_rows([row], [case("u", "head")])
