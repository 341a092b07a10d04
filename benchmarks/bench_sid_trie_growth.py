"""How time and memory of the trie grow with the catalogue, and those of its rivals.

    python benchmarks/bench_sid_trie_growth.py OUT.json [--max-items 1e8] [--threads 2] [--plot SVG]

A script: memory is that of a process, so each point is measured in one of its own, which holds the
codes (uint16, even, unsorted) before it begins. Rivals must find the nodes (marisa-trie: the number
of SIDs) that our build finds. `plot_sid_trie_growth.py` draws the results, as `--plot` does.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from plot_sid_trie_growth import SHAPE, draw
from static_reference import StaticIndex
from trie_rivals import even_codes, marisa_keys, marisa_trie_of, nodes_of_dict_trie

import onesearch_fast
from onesearch_fast import runtime
from onesearch_fast.files import write_json
from onesearch_fast.index.sid_trie import SidTrie
from onesearch_fast.ops import BeamStepResult, constrained_beam_step

SHAPES = {"5x2048": (2048,) * 5, "4096-1024-512-256-256": (4096, 1024, 512, 256, 256)}
SIZES = [10**power for power in range(4, 9)]
# Beyond these a rival needs more than 24 GB of memory, or an hour.
MAX_ITEMS = {"native": 10**9, "static": 10**7, "marisa": 10**7, "dicts": 10**6}
NUM_BEAMS = 256


@dataclass(frozen=True)
class Case:
    """One point: a rival builds the index of a catalogue."""

    rival: str
    shape: str
    num_items: int
    threads: int


@dataclass(frozen=True)
class Point:
    """What was measured.

    Attributes:
        build_s: seconds of every build; keys of marisa-trie are made beforehand.
        peak_bytes: most memory during a build beyond what the codes (and keys) took before it.
        index_bytes: size of the index; None for dicts, which have none of their own.
        num_nodes: nodes of each level from 1 on; None where a rival has no nodes.
        num_sids: distinct SIDs.
        load_ms: map the saved file, unverified, and answer one query, fastest of 20; ours only.
        steps_us: the five steps of one search with 256 beams, fastest of 20; ours only.
    """

    case: Case
    build_s: list[float]
    peak_bytes: int
    index_bytes: int | None
    num_nodes: tuple[int, ...] | None
    num_sids: int
    load_ms: float | None = None
    steps_us: float | None = None


@dataclass(frozen=True)
class Built:
    index: Any
    index_bytes: int | None
    num_nodes: tuple[int, ...] | None
    num_sids: int


def build_native(codes: np.ndarray, level_sizes: tuple[int, ...]) -> Built:
    trie = SidTrie.build(codes, level_sizes)
    nodes = tuple(trie.num_nodes(level) for level in range(1, trie.num_levels + 1))
    return Built(trie, trie.nbytes, nodes, trie.num_sids)


def build_static(codes: np.ndarray, level_sizes: tuple[int, ...]) -> Built:
    index = StaticIndex.build(codes, max(level_sizes))
    tensors = (index.start_mask, index.row_begin, index.edges)
    nbytes = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    return Built(index, nbytes, index.nodes_per_level, index.nodes_per_level[-1])


def build_marisa(keys: list[bytes], _: tuple[int, ...]) -> Built:
    trie = marisa_trie_of(keys)
    return Built(trie, len(trie.tobytes()), None, len(trie))


def build_dicts(codes: np.ndarray, _: tuple[int, ...]) -> Built:
    nodes = nodes_of_dict_trie(codes)
    return Built(None, None, nodes, nodes[-1])


BUILDERS: dict[str, Callable[[Any, tuple[int, ...]], Built]] = {
    "native": build_native,
    "static": build_static,
    "marisa": build_marisa,
    "dicts": build_dicts,
}


def memory(field: str) -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split(f"{field}:")[1].split()[0]) << 10


def timed_build(case: Case, codes: Any) -> tuple[float, int, Built]:
    """Seconds, peak memory beyond what was there, and what was built."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak begins anew
    before = memory("VmRSS")
    start = time.perf_counter()
    built = BUILDERS[case.rival](codes, SHAPES[case.shape])
    seconds = time.perf_counter() - start
    return seconds, memory("VmHWM") - before, built


def fastest(run: Callable[[], object], repeats: int = 20) -> float:
    """Seconds of the fastest of `repeats` runs."""
    samples = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        samples.append(time.perf_counter() - start)
    return min(samples)


def load_seconds(trie: SidTrie, codes: np.ndarray, folder: str) -> float:
    path = Path(folder) / "sid_trie.bin"
    trie.save(path)

    def load() -> None:
        assert SidTrie.load(path, verify=False).contains(codes[:1]).all()

    return fastest(load)


def steps_seconds(trie: SidTrie) -> float:
    """All levels of one search; every level starts from the beams that the one before it found."""
    generator = torch.Generator().manual_seed(0)
    node, scores = torch.zeros(1, 1, dtype=torch.int32), torch.zeros(1, 1)
    steps = []
    for level, size in enumerate(trie.level_sizes):
        logits = 3 * torch.randn((1, node.shape[1], size), generator=generator)
        result = BeamStepResult.empty(1, NUM_BEAMS)
        steps.append((logits, node, scores, trie, NUM_BEAMS, level, result))
        best = constrained_beam_step(*steps[-1][:-1])
        node, scores = best.node, best.scores

    def run() -> None:
        for *arguments, result in steps:
            constrained_beam_step(*arguments, out=result)

    return fastest(run)


def measure(case: Case, scratch_folder: str) -> Point:
    torch.set_num_threads(1)
    runtime.set_num_threads(case.threads)
    codes = even_codes(case.num_items, SHAPES[case.shape])
    given: Any = marisa_keys(codes) if case.rival == "marisa" else codes
    samples, peaks = [], []
    for _ in range(3 if case.num_items <= 10**7 else 2):
        built = None  # the index of the run before
        seconds, peak, built = timed_build(case, given)
        samples.append(seconds)
        peaks.append(peak)
        if seconds > 10:
            break
    assert built is not None
    figures = {}
    if case.rival == "native":
        figures["load_ms"] = 1e3 * load_seconds(built.index, codes, scratch_folder)
        figures["steps_us"] = 1e6 * steps_seconds(built.index)
    return Point(
        case, samples, max(peaks), built.index_bytes, built.num_nodes, built.num_sids, **figures
    )


def cases(max_items: int, threads: int) -> list[Case]:
    """Per catalogue ours first, then the rivals that can hold it; these use one thread."""
    found = []
    for shape in SHAPES:
        for num_items in [size for size in SIZES if size <= max_items]:
            ours = [Case("native", shape, num_items, count) for count in sorted({1, threads})]
            rivals = [
                Case(rival, shape, num_items, 1)
                for rival, most in MAX_ITEMS.items()
                if rival != "native" and num_items <= most
            ]
            found += ours + rivals
    return found


def measure_apart(case: Case, scratch_folder: str) -> dict[str, Any]:
    """`measure` in a process of its own."""
    command = [sys.executable, __file__, "--measure", json.dumps(asdict(case))]
    done = subprocess.run(
        [*command, "--scratch-folder", scratch_folder], stdout=subprocess.PIPE, check=True
    )
    point: dict[str, Any] = json.loads(done.stdout)
    return point


def assert_same_index(point: dict[str, Any], ours: dict[str, Any]) -> None:
    assert point["num_sids"] == ours["num_sids"], point
    assert point["num_nodes"] in (None, ours["num_nodes"]), point


def machine(load: float) -> dict[str, Any]:
    cpu = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("model name\t: ")[1]
    return {
        "cpu": cpu.split("\n")[0],
        "isa": runtime.cpu_info().kernels,
        "load_before": load,
        "python": platform.python_version(),
        "versions": {
            "onesearch_fast": onesearch_fast.__version__,
            "torch": torch.__version__,
            "numpy": np.__version__,
        },
    }


def grow(out: Path, max_items: int, threads: int) -> None:
    about = machine(os.getloadavg()[0])
    points: list[dict[str, Any]] = []
    ours: dict[tuple[str, int], dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(dir=out.parent) as scratch_folder:
        for case in cases(max_items, threads):
            point = measure_apart(case, scratch_folder)
            assert_same_index(point, ours.setdefault((case.shape, case.num_items), point))
            points.append(point)
            peak = point["peak_bytes"] / 1e6
            print(f"{case}: {min(point['build_s']):.4g} s, peak {peak:.0f} MB", flush=True)
            write_json(out, {"machine": about, "points": points})


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path, nargs="?")
    parser.add_argument("--max-items", type=float, default=1e6)
    parser.add_argument("--threads", type=int, default=2, help="of our second build")
    parser.add_argument("--plot", type=Path, help="a picture (.svg or .png) of the results")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument("--scratch-folder", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure is not None:
        case = Case(**json.loads(arguments.measure))
        print(json.dumps(asdict(measure(case, arguments.scratch_folder))))
    elif arguments.out is None:
        parser.error("OUT.json is missing")
    else:
        grow(arguments.out, int(arguments.max_items), arguments.threads)
        if arguments.plot is not None:
            draw(
                json.loads(arguments.out.read_text(encoding="utf-8"))["points"],
                SHAPE,
                arguments.plot,
            )


if __name__ == "__main__":
    main()
