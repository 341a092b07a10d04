"""`bench`: how fast this machine is at what the library is for, in one table.

Every module of `cli/benches` gives rows. benchmarks/ in the repository measures more, with rivals.
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from types import ModuleType
from typing import TYPE_CHECKING

from onesearch_fast.cli import benches
from onesearch_fast.cli._result import add_json, print_json
from onesearch_fast.cli.doctor import diagnose
from onesearch_fast.cli.main import Verb

if TYPE_CHECKING:
    from onesearch_fast.testing import Timing


@dataclass(frozen=True)
class Row:
    """One line of the table: ours against a rival with equal output, timed in turn."""

    what: str
    size: str
    ours: Timing
    rival: str
    theirs: Timing

    @property
    def times_faster(self) -> float:
        """Rival's time over ours, by medians."""
        return self.theirs.median_us / self.ours.median_us


def suites() -> list[ModuleType]:
    """The modules of `cli/benches`, by name."""
    names = sorted(module.name for module in pkgutil.iter_modules(benches.__path__))
    return [importlib.import_module(f"{benches.__name__}.{name}") for name in names]


def measure() -> Iterator[Row]:
    """Rows of every suite, as they are measured; says which suites cannot run here."""
    for suite in suites():
        try:
            yield from suite.rows()
        except ModuleNotFoundError as error:
            remedy = "pip install 'onesearch-fast[serve]'"
            print(f"{suite.__name__}: not measured: {error}; {remedy}", file=sys.stderr)


def as_line(what: str, size: str, ours: str, rival: str, theirs: str, ratio: str) -> str:
    return f"{what:<24}{size:<38}{ours:>10}  {rival:<18}{theirs:>10}{ratio:>9}"


def as_text(row: Row) -> str:
    ours, theirs = (f"{timing.median_us / 1e3:.3f}" for timing in (row.ours, row.theirs))
    return as_line(row.what, row.size, ours, row.rival, theirs, f"{row.times_faster:.1f} x")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    if arguments.json:
        rows = [asdict(row) for row in measure()]
        print_json({"machine": asdict(diagnose()), "rows": rows})
        return 0
    print(as_line("", "", "ours, ms", "rival", "ms", "faster"))
    for row in measure():
        print(as_text(row), flush=True)
    return 0


VERB = Verb("bench", "how fast this machine is at it, in one table", add_arguments, run)
