"""The results as terminal tables: rich where a person looks on, plain text elsewhere."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TextIO

from onesearch_fast.evaluate.report import EvaluationReport, Interval


@dataclass(frozen=True)
class Table:
    """One task of one split: column heads and rows of cells, best system first."""

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    highlighted: int


def tables(report: EvaluationReport) -> list[Table]:
    """One table per "<task>/<split>", then one per task and slice family."""
    found = [_main_table(report, key) for key in report.keys]
    for key in report.keys:
        families = report.slices[report.systems(key)[0]][key]
        found += [_slice_table(report, key, family) for family in families]
    return found


def print_tables(report: EvaluationReport, file: TextIO | None = None) -> None:
    """Prints all tables to `file` (standard output): by rich on a terminal, else as plain text."""
    file = file or sys.stdout
    if not file.isatty():
        file.write(plain_tables(report))
        return
    from rich.console import Console
    from rich.table import Table as RichTable

    console = Console(file=file)
    for table in tables(report):
        shown = RichTable(title=table.title, title_justify="left")
        for column, head in enumerate(table.heads):
            shown.add_column(head, justify="left" if column == 0 else "right", no_wrap=True)
        for index, row in enumerate(table.rows):
            shown.add_row(*row, style="bold" if index == table.highlighted else None)
        console.print(shown)


def plain_tables(report: EvaluationReport) -> str:
    """All tables as aligned text, without colours or box drawing."""
    return "\n".join(_plain(table) for table in tables(report))


def _plain(table: Table) -> str:
    lines = [table.heads, *table.rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(table.heads))]
    text = [table.title]
    for line in lines:
        first, *others = (
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        text.append("  ".join((first, *others)).rstrip())
    return "\n".join(text) + "\n"


def _main_table(report: EvaluationReport, key: str) -> Table:
    systems = report.systems(key)
    first = report.metrics[systems[0]][key]
    cutoffs = [int(name.removeprefix("hr@")) for name in first if name.startswith("hr@")]
    k = main_cutoff(cutoffs)
    shown = [f"hr@{cutoff}" for cutoff in cutoffs if cutoff != k]
    shown += [f"mrr@{k}", f"ndcg@{k}"]
    ordered = sorted(systems, key=lambda name: -report.metrics[name][key][f"hr@{k}"][0])
    every = dict.fromkeys(name for system in systems for name in report.metrics[system][key])
    extra = [name for name in every if "@" not in name]
    reference = report.references[key]
    rows = [
        (
            system,
            with_interval(report.metrics[system][key][f"hr@{k}"]),
            *(f"{report.metrics[system][key][name][0]:.4f}" for name in shown),
            *(_optional(report.metrics[system][key].get(name)) for name in extra),
            _optional(report.paired[key].get(system, {}).get(f"hr@{k}"), signed=True),
        )
        for system in ordered
    ]
    heads = (
        "system",
        f"HR@{k} [95 %]",
        *(name.upper() for name in shown),
        *extra,
        f"{reference} - system, HR@{k}",
    )
    task = key.split("/", 1)[0]
    title = f"{key}: {report.meta['num_cases'][task]} cases, {report.meta['table']}"
    return Table(title, heads, tuple(rows), ordered.index(reference))


def _slice_table(report: EvaluationReport, key: str, family: str) -> Table:
    systems = report.systems(key)
    labels = report.slices[systems[0]][key][family]
    metric = next(name for one in labels.values() for name in one.metrics if name[:3] == "hr@")
    rows = [
        (
            system,
            *(
                with_interval(one.metrics[metric])
                for one in report.slices[system][key][family].values()
            ),
        )
        for system in systems
    ]
    heads = ("system", *(f"{label} (n={one.num_cases})" for label, one in labels.items()))
    title = f"{key} by {family}: {metric.upper()} [95 %]"
    return Table(title, heads, tuple(rows), systems.index(report.references[key]))


def main_cutoff(cutoffs: list[int]) -> int:
    """The cutoff that tables and plots lead with: 10 where it was measured, else the largest."""
    return 10 if 10 in cutoffs else max(cutoffs)


def with_interval(interval: Interval, signed: bool = False) -> str:
    value, low, high = interval
    sign = "+" if signed else ""
    return f"{value:{sign}.4f} [{low:{sign}.4f}, {high:{sign}.4f}]"


def _optional(interval: Interval | None, signed: bool = False) -> str:
    return with_interval(interval, signed) if interval else "-"
