"""Draws what bench_sid_trie_growth.py measured: `python benchmarks/plot_sid_trie_growth.py IN OUT`.

IN is its JSON, OUT a picture (.svg or .png). Panels: seconds and peak memory of a build, both by
rival; the five steps of a search.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

NAMES = {
    "native": "onesearch_fast",
    "static": "STATIC's algorithm",
    "marisa": "marisa-trie",
    "dicts": "dict of dicts",
}
SHAPE = "4096-1024-512-256-256"
Line = list[tuple[int, float]]


def name_of(case: dict[str, Any]) -> str:
    name = NAMES[case["rival"]]
    return name if case["threads"] == 1 else f"{name}, {case['threads']} threads"


def lines_of(points: list[dict[str, Any]], shape: str) -> dict[str, dict[str, Line]]:
    """Panel -> rival -> (items, value)."""
    panels: dict[str, dict[str, Line]] = defaultdict(lambda: defaultdict(list))
    for point in points:
        case = point["case"]
        if case["shape"] != shape:
            continue
        name, num_items = name_of(case), case["num_items"]
        panels["build, seconds"][name].append((num_items, min(point["build_s"])))
        panels["peak memory, GB"][name].append((num_items, point["peak_bytes"] / 1e9))
        if point["steps_us"] is not None:
            line = panels["five steps of 256 beams, µs"][name]
            line.append((num_items, point["steps_us"]))
    return panels


def draw(points: list[dict[str, Any]], shape: str, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    panels = lines_of(points, shape)
    figure, axes = pyplot.subplots(1, len(panels), figsize=(4.2 * len(panels), 3.4), squeeze=False)
    for axis, (title, lines) in zip(axes[0], panels.items(), strict=True):
        for name, line in lines.items():
            axis.plot(*zip(*line, strict=True), marker="o", label=name)
        is_time_of_steps = title.endswith("µs")
        axis.set(title=title, xscale="log", xlabel="items")
        axis.set(ylim=(0, None)) if is_time_of_steps else axis.set(yscale="log")
        axis.grid(alpha=0.3)
    axes[0][0].legend(fontsize=8)
    figure.suptitle(f"codes {shape}")
    figure.tight_layout()
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("results", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--shape", default=SHAPE)
    arguments = parser.parse_args()
    results = json.loads(arguments.results.read_text(encoding="utf-8"))
    draw(results["points"], arguments.shape, arguments.out)


if __name__ == "__main__":
    main()
