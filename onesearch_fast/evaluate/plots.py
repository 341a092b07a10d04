"""The results as PNG plots: HR with intervals for every system, and by slice."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from onesearch_fast.evaluate.report import EvaluationReport, Interval
from onesearch_fast.evaluate.tables import main_cutoff
from onesearch_fast.files import atomic_path

_REFERENCE_COLOUR = "#c2410c"
_OTHER_COLOUR = "#64748b"
# Slices show the reference and the best of the others.
_SLICE_COLOURS = (_REFERENCE_COLOUR, "#1e3a5f", "#6b9ac4", "#c9d6df")


def write_plots(report: EvaluationReport, folder: Path) -> list[Path]:
    """Writes hr_<task>.png and slices_<task>.png for each task; returns their paths."""
    written = []
    for key in report.keys:
        task = key.split("/", 1)[0]
        written.append(_save(_bars(report, key), folder / f"hr_{task}.png"))
        written.append(_save(_slice_panels(report, key), folder / f"slices_{task}.png"))
    return written


def _bars(report: EvaluationReport, key: str) -> Figure:
    metric = _main_metric(report, key)
    systems = sorted(report.systems(key), key=lambda s: report.metrics[s][key][metric][0])
    figure = Figure(figsize=(7, 0.8 + 0.35 * len(systems)), layout="constrained")
    axes = figure.subplots()
    intervals = [report.metrics[system][key][metric] for system in systems]
    ours = report.references[key]
    colours = [_REFERENCE_COLOUR if system == ours else _OTHER_COLOUR for system in systems]
    values = [interval[0] for interval in intervals]
    axes.barh(systems, values, xerr=_errors(intervals), color=colours, capsize=3)
    axes.set_xlabel(f"{metric.upper()}, 95 % interval over users")
    axes.set_title(f"{key}, {report.meta['table']}")
    return figure


def _slice_panels(report: EvaluationReport, key: str) -> Figure:
    metric = _main_metric(report, key)
    systems = _leaders(report, key, metric)
    families = list(report.slices[systems[0]][key])
    figure = Figure(figsize=(1 + 4.2 * len(families), 3.6), layout="constrained")
    panels = figure.subplots(1, len(families), squeeze=False, sharey=True)[0]
    for axes, family in zip(panels, families, strict=True):
        _slice_panel(report, key, family, metric, systems, axes)
    panels[0].set_ylabel(metric.upper())
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(systems))
    figure.suptitle(f"{key}, {report.meta['table']}")
    return figure


def _slice_panel(
    report: EvaluationReport, key: str, family: str, metric: str, systems: list[str], axes: Axes
) -> None:
    labels = report.slices[systems[0]][key][family]
    width = 0.8 / len(systems)
    for place, system in enumerate(systems):
        intervals = [one.metrics[metric] for one in report.slices[system][key][family].values()]
        axes.bar(
            [x + (place - (len(systems) - 1) / 2) * width for x in range(len(labels))],
            [interval[0] for interval in intervals],
            width,
            yerr=_errors(intervals),
            capsize=2,
            label=system,
            color=_SLICE_COLOURS[place],
        )
    ticks = [f"{label}\nn={one.num_cases}" for label, one in labels.items()]
    axes.set_xticks(range(len(labels)), ticks, fontsize="small")
    axes.set_title(family.replace("_", " "))


def _leaders(report: EvaluationReport, key: str, metric: str) -> list[str]:
    systems = sorted(
        report.systems(key),
        key=lambda s: (s != report.references[key], -report.metrics[s][key][metric][0]),
    )
    return systems[: len(_SLICE_COLOURS)]


def _main_metric(report: EvaluationReport, key: str) -> str:
    names = report.metrics[report.systems(key)[0]][key]
    cutoffs = [int(name.removeprefix("hr@")) for name in names if name.startswith("hr@")]
    return f"hr@{main_cutoff(cutoffs)}"


def _errors(intervals: list[Interval]) -> list[list[float]]:
    # A percentile interval may, on a few users, lie to one side of the value.
    below = [max(0.0, value - low) for value, low, _ in intervals]
    above = [max(0.0, high - value) for value, _, high in intervals]
    return [below, above]


def _save(figure: Figure, path: Path) -> Path:
    with atomic_path(path) as temporary:
        FigureCanvasAgg(figure)
        figure.savefig(temporary, format="png", dpi=120)
    return path
