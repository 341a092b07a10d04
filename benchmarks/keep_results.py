"""Writes pytest-benchmark's results without their raw samples, which are most of the bytes.

python benchmarks/keep_results.py build/step.json benchmarks/results/constrained_beam_step.json
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from onesearch_fast.files import write_json


def main() -> None:
    """Reads results, drops the samples and whose checkout they came from, and writes the rest."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    results = json.loads(arguments.results.read_text())
    results["commit_info"] = {key: results["commit_info"][key] for key in ("id", "time")}
    for benchmark in results["benchmarks"]:
        del benchmark["stats"]["data"]
    write_json(arguments.out, results)


if __name__ == "__main__":
    main()
