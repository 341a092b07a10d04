"""Learning curves of a run: one JSON file, one picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from onesearch_fast.files import atomic_path, read_json, write_json

STAGE_CURVES = "curves.json"


def write_curves(run_folder: Path) -> None:
    """Gathers the curves of all stages into `curves.json` and `curves.png` of the run."""
    curves = {
        file.parent.name: read_json(file) for file in sorted(run_folder.glob(f"*/{STAGE_CURVES}"))
    }
    if not curves:
        return
    write_json(run_folder / "curves.json", curves)
    with atomic_path(run_folder / "curves.png") as temporary:
        _plot(curves, temporary)


def _plot(curves: dict[str, Any], path: Path) -> None:
    figure, panels = plt.subplots(
        2, len(curves), figsize=(4 * len(curves), 5), squeeze=False, sharex="col"
    )
    for column, (name, curve) in enumerate(curves.items()):
        losses, speeds = panels[0][column], panels[1][column]
        seconds = [point["seconds"] for point in curve["points"]]
        tokens = [point["tokens"] for point in curve["points"]]
        losses.plot(seconds, [point["loss"] for point in curve["points"]], label="training")
        scored = curve["validations"]
        if scored:
            validation = losses.twinx()
            validation.plot(
                [point["seconds"] for point in scored],
                [point["loss"] for point in scored],
                "o--",
                color="tab:orange",
            )
            validation.set_ylabel("validation, nats per SID", color="tab:orange")
        losses.set_title(name)
        losses.set_ylabel("training, nats per token")
        speeds.plot(seconds[1:], np.diff(tokens) / np.maximum(np.diff(seconds), 1e-9))
        speeds.set_ylabel("tokens/s")
        speeds.set_xlabel("seconds of training")
        speeds.set_ylim(bottom=0)
    figure.tight_layout()
    figure.savefig(path, dpi=110, format="png")
    plt.close(figure)
