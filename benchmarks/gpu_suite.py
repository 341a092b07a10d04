"""Everything that a GPU must show, in one go of at most 8 minutes: build, tests, sanitizer, times.

    python benchmarks/gpu_suite.py --build --json OUT.json

Every stage is a process of its own, which ends by a given time, and writes each row when it has it:
what fails, hangs or breaks the device takes nothing from the rows before it and the stages behind
it. What a stage had no time for stands under `cut`. What the processes print is in OUT.log. The
JSON is written after every stage; a line for every row, and one for every goal and whether it was
reached, are printed last. Times are medians of
CUDA events over replays of a graph unless said otherwise, and every rival's answer is compared with
ours before it is timed. Without a GPU it says so and exits with 2; with a failed row it exits with
1.

`--dry-run` takes the same way on the CPU, with tiny sizes, to test the script; its times say
nothing. `--only STAGE ...` runs some stages.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, Any

from gpu_goals import GOALS

ROOT = Path(__file__).parent.parent
# Seconds after the start by which each stage ends; 8 minutes in all. Those that time nothing run
# together.
ENDS = {
    "build": 110,
    "tests": 215,
    "sanitizer": 215,
    "leaks": 215,
    "trained": 215,
    "compile": 215,
    "operators": 285,
    "steps": 370,
    "searches": 460,
    "index": 475,
}
TOGETHER = ("tests", "sanitizer", "leaks", "trained", "compile")
# A program that is stopped a little before its stage can still tell how far it came.
_LAST_WORDS = 6.0
# Where a toolkit stands that is not on PATH.
_TOOLKIT = "/usr/local/cuda/bin"

Row = dict[str, Any]
# What a row says of itself, and the function that measures the rest of it.
Rows = Iterator[tuple[Row, Callable[[], Row]]]


@dataclass(frozen=True)
class Run:
    """What a stage needs to know: how the suite was called, and when the stage ends."""

    dry: bool
    end: float

    @property
    def left(self) -> float:
        return self.end - time.time()


@dataclass
class Report:
    """What the JSON file holds."""

    device: str
    versions: dict[str, str]
    stages: dict[str, list[Row]] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    cut: list[str] = field(default_factory=list)
    goals: list[str] = field(default_factory=list)


def run_program(run: Run, *command: str) -> Row:
    """Runs a program from the repository's root; its last lines, and how long it took."""
    started = time.time()
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdout=output,
            stderr=subprocess.STDOUT,
            preexec_fn=_heed_interrupts,
        )
        try:
            outcome = f"exit {process.wait(max(run.left - _LAST_WORDS, 0))}"
        except subprocess.TimeoutExpired:
            outcome = "timed out"
            _interrupt(process)
        output.seek(0)
        text = output.read()
    print(text, flush=True)
    if outcome != "exit 0":
        raise RuntimeError(f"{' '.join(command)}: {outcome}\n{text[-4000:]}")
    return {"seconds": time.time() - started, "last_line": text.rstrip().rpartition("\n")[2]}


def _heed_interrupts() -> None:
    """Which a shell has those ignore that it starts in the background, and all that they start."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _interrupt(process: subprocess.Popen[Any]) -> None:
    """As from the keyboard, which has pytest tell what failed so far; then for good."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(_LAST_WORDS / 2)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def build(run: Run) -> Rows:
    command = ["-m", "pip", "install", "--no-build-isolation", "--no-deps", "-q", "-e", "."]
    define = "cmake.define.ONESEARCH_CUDA=ON"
    yield {"program": "pip"}, partial(run_program, run, sys.executable, *command, "-C", define)


_LEAKS = "leave_no_memory_behind"


def run_tests(run: Run) -> Rows:
    """All but those of leaks, on several processes: they compile kernels most of the time."""
    workers = ("-n", "12") if importlib.util.find_spec("xdist") and not run.dry else ()
    yield {"program": "pytest"}, partial(pytest, run, f"not {_LEAKS}", *workers)


def run_leak_tests(run: Run) -> Rows:
    """10,000 searches, and as many steps with a filter each."""
    yield {"program": "pytest"}, partial(pytest, run, _LEAKS)


def pytest(run: Run, chosen: str, *options: str) -> Row:
    command = (sys.executable, "-m", "pytest", "-q", "-rfE", "--tb=short", "-p", "no:cacheprovider")
    return run_program(run, *command, *options, "-k", chosen, "tests/gpu")


def run_sanitizer(run: Run) -> Rows:
    """Programs of its own: a sanitizer slows all that runs under it."""
    case = (sys.executable, __file__, "--small-case", *(["--dry-run"] if run.dry else []))
    # Torch asks for what a driver may refuse, and goes on without it.
    for tool, options in (("memcheck", ("--report-api-errors", "no")), ("racecheck", ())):
        # An allocation of its own for every tensor, so that what lies past its end is found.
        caching = ("env", "PYTORCH_NO_CUDA_MEMORY_CACHING=1")
        checked = (*caching, "compute-sanitizer", "--tool", tool, "--error-exitcode", "9")
        command = case if run.dry else (*checked, *options, *case)
        yield {"tool": tool}, partial(run_program, run, *command)


def measured_by(module: str, run: Run) -> Rows:
    """The rows of `measure(target)` in a module beside this one."""
    from gpu_timing import Target

    rows: Rows = importlib.import_module(module).measure(Target(run.dry))
    return rows


def compile_kernels(run: Run) -> Rows:
    """What the operators need, which their stage then finds on the disk."""
    for label, measure in measured_by("gpu_operators", run):

        def compiled(measure: Callable[[], Row] = measure) -> Row:
            measure()
            return {}

        yield label, compiled


Stage = Callable[[Run], Rows]

STAGES: dict[str, Stage] = {
    "build": build,
    "tests": run_tests,
    "sanitizer": run_sanitizer,
    "leaks": run_leak_tests,
    "trained": partial(measured_by, "gpu_trained"),
    "compile": compile_kernels,
    "operators": partial(measured_by, "gpu_operators"),
    "steps": partial(measured_by, "gpu_steps"),
    "searches": partial(measured_by, "gpu_searches"),
    "index": partial(measured_by, "gpu_index"),
}


def write_rows(stage: Stage, run: Run, out: IO[str]) -> None:
    """A line of JSON for each row, as soon as it is there."""
    for label, measure in stage(run):
        if run.left <= 0:
            row = label | {"cut": True}
        else:
            try:
                row = label | measure()
            except Exception as error:  # the other rows still tell something
                row = label | {"error": f"{type(error).__name__}: {error}"[-4000:]}
        out.write(json.dumps(row) + "\n")
        out.flush()


def run_stage(report: Report, name: str, end: float, log: IO[str], *options: str) -> None:
    """Has a process run a stage until `end`, and reads the rows that it wrote."""
    if end <= time.time():
        report.cut.append(name)
        return
    with tempfile.NamedTemporaryFile("r") as rows:
        command = (sys.executable, __file__, "--stage", name, "--end", str(end), "--rows")
        outcome = run_until(end, log, *command, rows.name, *options)
        found = [json.loads(line) for line in rows if line.endswith("\n")]
    report.stages[name] = found
    report.cut += [f"{name}: {row}" for row in found if row.get("cut")]
    report.failed += [f"{name}: {row}"[:200] for row in found if "error" in row]
    if outcome:
        report.failed.append(f"{name}: {outcome}")


def run_until(end: float, log: IO[str], *command: str) -> str:
    """Runs a program and all that it starts; "" or why it did not end well."""
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
    )
    try:
        code = process.wait(max(end - time.time(), 0))
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return "stopped at the end of its time"
    return f"exit {code}" if code else ""


def described(dry: bool) -> Report:
    """The device and what it runs, asked for by a process of its own: this one takes no memory."""
    if dry:
        return Report("none: a dry run", {})
    question = (
        "import torch, triton; print(torch.cuda.get_device_name());"
        "print(torch.__version__); print(torch.version.cuda); print(triton.__version__)"
    )
    answers = _lines(sys.executable, "-c", question)
    driver = _lines("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")
    names = ("torch", "cuda", "triton", "driver")
    return Report(answers[0], dict(zip(names, [*answers[1:], *driver], strict=False)))


def _lines(*command: str) -> list[str]:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.splitlines() or ["unknown"]


def run_all(names: list[str], dry: bool, path: Path) -> int:
    begin = time.time()
    report = described(dry)
    options = ["--dry-run"] if dry else []
    with path.with_suffix(".log").open("w", encoding="utf-8") as log:
        for group in groups(names):
            print("==", *group, f"from {time.time() - begin:.0f} s", flush=True)
            with ThreadPoolExecutor(len(group)) as threads:
                for name in group:
                    threads.submit(run_stage, report, name, begin + ENDS[name], log, *options)
            report.goals = [goal.told({} if dry else report.stages) for goal in GOALS]
            path.write_text(json.dumps(asdict(report), indent=1) + "\n", encoding="utf-8")
    print(f"== done after {time.time() - begin:.0f} s", *summary(report), sep="\n")
    print("goals of an H100:", *report.goals, sep="\n  ")
    print("failed:", *report.failed, "cut:", *report.cut, sep="\n  ")
    return 1 if report.failed else 0


def groups(names: list[str]) -> list[list[str]]:
    """Stages that run at the same time, in their order."""
    found: list[list[str]] = []
    for name in names:
        if found and name in TOGETHER and found[-1][0] in TOGETHER:
            found[-1].append(name)
        else:
            found.append([name])
    return found


def summary(report: Report) -> list[str]:
    """A line for each row: times as medians."""
    lines = [report.device + " " + json.dumps(report.versions)]
    for name, rows in report.stages.items():
        shown = [row for row in rows if name != "compile" or "error" in row]
        lines += [f"{name}: " + " ".join(map(_told, row.items())) for row in shown]
    return lines


def _told(entry: tuple[str, Any]) -> str:
    key, value = entry
    if isinstance(value, dict) and "median_us" in value:
        return f"{key} {value['median_us']:.1f} us;"
    if key == "error":
        return f"ERROR {value[-400:]}"
    return f"{key}={value:.3g}" if isinstance(value, float) else f"{key}={value}"


def no_gpu() -> bool:
    """Asked in a process of its own, as `described` does."""
    question = "import torch, sys; sys.exit(not torch.cuda.is_available())"
    return subprocess.run([sys.executable, "-c", question], check=False).returncode != 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--build", action="store_true", help="build and install the package first")
    parser.add_argument("--json", type=Path, default=Path("gpu_suite.json"))
    parser.add_argument("--only", nargs="+", choices=STAGES, help="these stages alone")
    parser.add_argument("--dry-run", action="store_true", help="tiny sizes on the CPU")
    # For the processes that the suite starts:
    parser.add_argument("--stage", choices=STAGES, help=argparse.SUPPRESS)
    parser.add_argument("--end", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--rows", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--small-case", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    os.environ["PATH"] += os.pathsep + _TOOLKIT
    if given.stage is not None:
        with given.rows.open("w", encoding="utf-8") as out:
            write_rows(STAGES[given.stage], Run(given.dry_run, given.end), out)
        return 0
    if given.small_case:
        from gpu_steps import small_case
        from gpu_timing import Target

        small_case(Target(given.dry_run))
        return 0
    if not given.dry_run and no_gpu():
        print("gpu_suite: no GPU: torch sees no CUDA device, and nothing was run", file=sys.stderr)
        return 2
    chosen = given.only or [name for name in STAGES if given.build or name != "build"]
    return run_all(chosen, given.dry_run, given.json)


if __name__ == "__main__":
    sys.exit(main())
