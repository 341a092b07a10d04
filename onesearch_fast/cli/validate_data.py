"""`onesearch-fast validate-data`: every broken row of a data folder, and what the folder holds."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from onesearch_fast.cli._result import add_json, print_json
from onesearch_fast.cli.main import Verb

if TYPE_CHECKING:
    from onesearch_fast.data.validate import Statistics, ValidationReport


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="DIR", help="folder with items, interactions, ...")
    parser.add_argument("--order", help="order of events, for forms with several")
    parser.add_argument(
        "--max-problems", type=int, default=20, metavar="N", help="print at most N (default 20)"
    )
    parser.add_argument(
        "--allow-untitled", action="store_true", help="accept items without any text"
    )
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    from onesearch_fast.data.validate import validate_folder

    report = validate_folder(
        args.folder,
        order=args.order,
        max_problems=args.max_problems,
        allow_untitled=args.allow_untitled,
    )
    if args.json:
        print_json(report.as_json())
    else:
        print("\n".join(_lines(report)))
    return 0 if report.ok else 1


def _lines(report: ValidationReport) -> list[str]:
    lines = [f"form       {report.form}"]
    if report.statistics is not None:
        lines += _statistics_lines(report.statistics)
    lines += [f"warning    {warning}" for warning in report.warnings]
    lines += [f"problem    {problem}" for problem in report.problems]
    unshown = report.num_problems - len(report.problems)
    if unshown:
        lines.append(f"           and {unshown} more; --max-problems shows more")
    lines.append("sound" if report.ok else f"NOT sound: {report.num_problems} problem(s)")
    return lines


def _statistics_lines(found: Statistics) -> list[str]:
    events = ", ".join(f"{count} {event}" for event, count in found.events.items())
    languages = ", ".join(
        f"{count} {name}" for name, count in sorted(found.title_languages.items())
    )
    return [
        f"items      {found.items} ({found.share_in_log:.0%} clicked or ordered; "
        f"{found.share_with_category:.0%} with category, {found.share_with_brand:.0%} with brand, "
        f"{found.share_with_price:.0%} with price)",
        f"titles     {languages or 'none'}",
        f"users      {found.users} ({found.users_with_two_events} with at least two events)",
        f"events     {events}",
        f"history    mean {found.history_mean:.1f}, median {found.history_median:g}, "
        f"longest {found.history_max}",
        f"sessions   {found.sessions}",
        f"queries    {found.distinct_queries} distinct, {found.judged_queries} judgements",
    ]


VERB = Verb(
    "validate-data",
    "check a data folder: every broken row with file and line, and what it holds",
    add_arguments,
    run,
)
