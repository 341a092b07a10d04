"""The snippets of docs/serving.md and of README.md run as they stand, one after the other."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from onesearch_fast.testing.random_models import random_model


@pytest.mark.parametrize(
    ("page", "vocab_size", "served"),
    [("serving.md", 1256, "served"), ("../README.md", 2024, "runs/demo-synthetic/served")],
)
def test_the_snippets_run(
    page: str,
    vocab_size: int,
    served: str,
    served_folder: Path,
    tmp_path: Path,
    guide_snippets: Callable[[str], str],
) -> None:
    model: Any = random_model("qwen3", vocab_size)
    model.save_pretrained(tmp_path / "my-qwen3")
    shutil.copytree(served_folder, tmp_path / served)
    exec(compile(guide_snippets(page), page, "exec"), {})
