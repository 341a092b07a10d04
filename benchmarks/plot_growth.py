"""Draws what bench_engine_growth.py measured: `python benchmarks/plot_growth.py RESULTS.json OUT`.

OUT is a picture (.svg or .png); one panel per size that grows, fastest run of each point.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

LABELS = {
    "num_beams": "beams",
    "prompt": "prompt tokens",
    "batch": "requests in a batch",
    "num_items": "items",
}


def points(results: dict[str, Any]) -> dict[str, list[tuple[int, float]]]:
    """Axis -> (value, milliseconds), by value."""
    found = defaultdict(list)
    for case in results["benchmarks"]:
        info = case["extra_info"]
        if "axis" in info:
            found[info["axis"]].append((info["value"], 1e3 * case["stats"]["min"]))
    return {axis: sorted(found[axis]) for axis in LABELS if axis in found}


def draw(results: dict[str, Any], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    lines = points(results)
    figure, panels = pyplot.subplots(1, len(lines), figsize=(4 * len(lines), 3.2), squeeze=False)
    for panel, (axis, line) in zip(panels[0], lines.items(), strict=True):
        panel.plot(*zip(*line, strict=True), marker="o")
        panel.set(xscale="log", xlabel=LABELS[axis], ylabel="ms a search", ylim=(0, None))
        panel.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    results = json.loads(arguments.results.read_text(encoding="utf-8"))
    draw(results, arguments.out)
    for axis, line in points(results).items():
        print(axis, ", ".join(f"{value}: {ms:.1f} ms" for value, ms in line))


if __name__ == "__main__":
    main()
