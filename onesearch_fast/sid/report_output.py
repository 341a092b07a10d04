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
        draw_report(report).savefig(path, format="png", dpi=120)


def draw_report(report: SidReport) -> Figure:
    """Three panels by prefix length: codes in use, error, wanted items that share the prefix."""
    figure = Figure(figsize=(12, 4), layout="constrained")
    FigureCanvasAgg(figure)
    quality = report.quality
    figure.suptitle(
        f"{quality.num_items:,} items on {quality.num_sids:,} SIDs, "
        f"icr_item {quality.icr_item:.4f}, icr_sid {quality.icr_sid:.4f}"
    )
    use, error, recall = figure.subplots(1, 3)
    _lines(use, "prefixes in use", {"CUR": quality.cur, "Gini": quality.gini})
    errors = quality.reconstruction_error or ()
    levels = {"variance left": errors, "codes of the level in use": quality.level_use}
    _lines(error, "what a level does", levels)
    asked = {"nearest items": report.neighbours, "held-out queries": report.queries}
    shared = {name: one.shared for name, one in asked.items() if one is not None}
    _lines(recall, "wanted items that share the prefix", shared)
    return figure


def _lines(axes: Axes, title: str, series: dict[str, tuple[float, ...]]) -> None:
    for (name, values), colour in zip(series.items(), _COLOURS, strict=False):
        levels = range(1, len(values) + 1)
        axes.plot(levels, values, marker="o", color=colour, label=name, clip_on=False)
    axes.set_title(title, fontsize="medium")
    axes.set_ylim(0, 1)
    axes.set_xlabel("codes")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.spines[["top", "right"]].set_visible(False)
    if series:
        # Below, since a line may run anywhere from 0 to 1.
        axes.legend(
            fontsize="small", frameon=False, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.2)
        )
