"""A folder that holds one run: its identity, and steps that are whole or absent."""

from __future__ import annotations

import os
import resource
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from onesearch_fast.errors import invalid
from onesearch_fast.files import atomic_folder, read_json, write_json
from onesearch_fast.train import parallel
from onesearch_fast.train.progress import Progress

RUN_FILE = "run.json"
_REMEDY = "choose another run folder, or delete this one to start again"


@dataclass(frozen=True)
class StepReport:
    """What a step cost when it was made; `reused` when that was before this call.

    peak_mib: the most memory the process had held by the end of the step.
    """

    name: str
    seconds: float
    peak_mib: float
    reused: bool


class RunFolder:
    """The steps of a run. A step is made in a temporary folder and renamed when it is whole."""

    def __init__(
        self, path: Path, progress: Progress, donors: Mapping[str, Path] | None = None
    ) -> None:
        """donors: step -> another run that has made the very same one."""
        self.path = path
        self.progress = progress
        self.donors = donors or {}
        self.reports: list[StepReport] = []

    def claim(self, identity: Mapping[str, Any], versions: Mapping[str, str], resume: bool) -> None:
        """Writes what this run is, or checks that the run in the folder is the same one."""
        path = self.path / RUN_FILE
        new = not path.exists()
        parallel.barrier()  # nobody writes it before all have looked
        if new and parallel.rank() > 0:
            return
        if new:
            self._refuse_other_folders()
            write_json(path, {**identity, "versions": dict(versions)})
            return
        found = read_json(path)
        if not isinstance(found, Mapping):
            raise invalid("run_pipeline", "run_dir", "the run.json of a run", str(path), _REMEDY)
        differing = list(_differences({key: found.get(key) for key in identity}, identity))
        if differing or not resume:
            got = f"a run that differs in {', '.join(differing)}" if differing else "a run"
            expected = "the same run, or no run at all" if resume else "no run"
            raise invalid("run_pipeline", "run_dir", expected, f"{self.path}: {got}", _REMEDY)

    def _refuse_other_folders(self) -> None:
        """A step takes the place of the folder of its name, so nobody else's may be there."""
        if not self.path.is_dir():
            return
        others = (entry for entry in sorted(self.path.iterdir()) if not entry.name.startswith("."))
        other = next((entry for entry in others if entry.is_dir()), None)
        if other is not None:
            expected, remedy = "a run, or a folder without folders", "choose another run folder"
            raise invalid("run_pipeline", "run_dir", expected, f"one that holds {other}", remedy)

    def has(self, name: str) -> bool:
        """Whether a step is there, whole."""
        return self._cost_file(name).is_file() and (self.path / name).is_dir()

    def _cost_file(self, name: str) -> Path:
        return self.path / "steps" / f"{name}.json"

    def step(self, name: str, make: Callable[[Path], None], in_every_process: bool = False) -> Path:
        """The folder of a step, filled by `make(folder)` unless it is there already.

        Where several processes run together, the first one makes the step while the others wait, or
        all of them make it `in_every_process` and what the first one writes is kept.
        """
        folder, cost_file = self.path / name, self._cost_file(name)
        reused = self.has(name)
        parallel.barrier()  # nobody makes it before all have looked
        if not reused:
            self.progress.say(f"{name} ...")
            self._make(folder, cost_file, make, in_every_process)
        parallel.barrier()
        report = StepReport(name, **read_json(cost_file), reused=reused)
        state = "was done" if reused else "done"
        self.progress.say(f"{name} {state}: {report.seconds:.1f} s, {report.peak_mib:,.0f} MiB")
        self.reports.append(report)
        return folder

    def _make(
        self, folder: Path, cost_file: Path, make: Callable[[Path], None], in_every_process: bool
    ) -> None:
        began = time.monotonic()
        if parallel.rank() == 0:
            self._remove_torn(folder.name)
            with atomic_folder(folder) as temporary:
                if folder.name in self.donors:
                    _link(self.donors[folder.name] / folder.name, temporary)
                else:
                    make(temporary)
            seconds = time.monotonic() - began
            write_json(cost_file, self._cost(folder.name, seconds))
        elif in_every_process and folder.name not in self.donors:
            with TemporaryDirectory() as unused:
                make(Path(unused))

    def _cost(self, name: str, seconds: float) -> dict[str, float]:
        """What a step cost; one that is linked, what it cost the run that made it."""
        if name in self.donors:
            cost: dict[str, float] = read_json(self.donors[name] / "steps" / f"{name}.json")
            return cost
        return {"seconds": seconds, "peak_mib": peak_mib()}

    def _remove_torn(self, name: str) -> None:
        """Removes what a kill left of earlier attempts at a step."""
        for torn in self.path.glob(f".{name}.*"):
            shutil.rmtree(torn)


def _link(source: Path, target: Path) -> None:
    shutil.copytree(source, target, copy_function=os.link, dirs_exist_ok=True)


def peak_mib() -> float:
    """The most memory this process has held so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20) if sys.platform == "darwin" else peak / (1 << 10)


def _differences(found: Any, wanted: Any, where: str = "") -> Iterator[str]:
    """Dotted names of the leaves in which two JSON values differ."""
    if isinstance(found, Mapping) and isinstance(wanted, Mapping):
        for key in sorted({*found, *wanted}):
            inside = f"{where}.{key}" if where else str(key)
            yield from _differences(found.get(key), wanted.get(key), inside)
    elif isinstance(found, list) and isinstance(wanted, list) and len(found) == len(wanted):
        for number, pair in enumerate(zip(found, wanted, strict=True)):
            yield from _differences(*pair, f"{where}[{number}]")
    elif found != wanted:
        yield where
