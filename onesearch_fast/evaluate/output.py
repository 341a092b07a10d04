"""The files of an evaluation: metrics.json, report.json, table.txt, plots."""

from __future__ import annotations

from pathlib import Path

from onesearch_fast.evaluate.plots import write_plots
from onesearch_fast.evaluate.report import EvaluationReport
from onesearch_fast.evaluate.tables import plain_tables
from onesearch_fast.files import atomic_path, write_json


def write_report(report: EvaluationReport, folder: str | Path) -> None:
    """Writes metrics.json, report.json, table.txt and PNG plots, each whole or not at all."""
    folder = Path(folder)
    write_json(folder / "metrics.json", report.metrics_json())
    write_json(folder / "report.json", report.report_json())
    with atomic_path(folder / "table.txt") as path:
        path.write_text(plain_tables(report), encoding="utf-8")
    write_plots(report, folder)
