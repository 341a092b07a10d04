"""A report on semantic IDs as files: JSON, text, and one PNG of figures by prefix length."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from onesearch_fast.files import atomic_path, write_json
from onesearch_fast.sid.report import SidReport

_COLOURS = ("#1e3a5f", "#c2410c")


def write_report(report: SidReport, folder: Path) -> None:
    """Writes report.json, report.txt and levels.png, each whole or not at all."""
    write_json(folder / "report.json", report.as_dict())
    with atomic_path(folder / "report.txt") as path:
        path.write_text(report.as_text() + "\n", encoding="utf-8")
    with atomic_path(folder / "levels.png") as path:
        _figure(report).savefig(path, format="png", dpi=120)


def _figure(report: SidReport) -> Figure:
    figure = Figure(figsize=(12, 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    use, error, recall = figure.subplots(1, 3)
    quality = report.quality
    _lines(use, {"CUR of the prefix": quality.cur, "Gini of the prefix": quality.gini})
    use.set_title(f"{quality.num_items:,} items on {quality.num_sids:,} SIDs")
    errors = quality.reconstruction_error or ()
    _lines(error, {"variance left": errors, "share of codes in use": quality.level_use})
    error.set_title(f"icr_item {quality.icr_item:.4f}, icr_sid {quality.icr_sid:.4f}")
    asked = {"nearest items": report.neighbours, "held-out queries": report.queries}
    _lines(recall, {name: one.shared for name, one in asked.items() if one is not None})
    recall.set_title("wanted items that share the prefix")
    return figure


def _lines(axes: Axes, series: dict[str, tuple[float, ...]]) -> None:
    for (name, values), colour in zip(series.items(), _COLOURS, strict=False):
        axes.plot(range(1, len(values) + 1), values, marker="o", color=colour, label=name)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("codes")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if series:
        axes.legend(fontsize="small")
