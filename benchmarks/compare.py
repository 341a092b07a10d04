"""Prints what benchmark results say: `python benchmarks/compare.py RESULTS.json [EARLIER.json]`.

For each case: the fastest time of our function, and how many times longer each rival took in the
same alternating run. With a second file: how many times faster or slower our function became.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any


def times_by_case(results: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Case -> rival -> fastest microseconds; the first rival is ours."""
    return {
        case["fullname"]: {
            name: timing["min_us"] for name, timing in case["extra_info"]["rivals"].items()
        }
        for case in results["benchmarks"]
        if "rivals" in case["extra_info"]
    }


def ratio_line(times: dict[str, float], earlier: dict[str, float] | None) -> str:
    ours, *rivals = times
    ratios = [f"{name} x{times[name] / times[ours]:.1f}" for name in rivals]
    if earlier and ours in earlier:
        ratios.append(f"earlier x{earlier[ours] / times[ours]:.2f}")
    return f"{times[ours]:>12.1f} us  {', '.join(ratios)}"


def describe(machine: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    cpu = machine.get("cpu", {}).get("brand_raw", machine["machine"])
    return f"{cpu}, {machine['isa']}, {machine['threads']} thread; {versions}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path)
    parser.add_argument("earlier", type=Path, nargs="?")
    arguments = parser.parse_args()
    results = json.loads(arguments.results.read_text(encoding="utf-8"))
    earlier = {}
    if arguments.earlier:
        earlier = times_by_case(json.loads(arguments.earlier.read_text(encoding="utf-8")))
    print(describe(results["machine_info"]))
    for case, times in times_by_case(results).items():
        print(f"{case:<80}{ratio_line(times, earlier.get(case))}")


if __name__ == "__main__":
    main()
