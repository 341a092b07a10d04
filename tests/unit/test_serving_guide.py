"""The snippets of docs/serving.md run as they stand, one after the other."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from onesearch_fast.testing.random_models import random_model


def test_the_guide_runs(
    served_folder: Path, tmp_path: Path, guide_snippets: Callable[[str], str]
) -> None:
    model: Any = random_model("qwen3", 1256)
    model.save_pretrained(tmp_path / "my-qwen3")
    shutil.copytree(served_folder, tmp_path / "served")
    exec(compile(guide_snippets("serving.md"), "serving.md", "exec"), {})
