"""The snippets of docs/serving.md run as they stand, one after the other."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from onesearch_fast.testing.random_models import random_model

GUIDE = Path(__file__).parents[2] / "docs" / "serving.md"
_SNIPPET = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)


def test_the_guide_runs(
    served_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model: Any = random_model("qwen3", 1256)
    model.save_pretrained(tmp_path / "my-qwen3")
    shutil.copytree(served_folder, tmp_path / "served")
    monkeypatch.chdir(tmp_path)
    snippets = _SNIPPET.findall(GUIDE.read_text(encoding="utf-8"))
    assert len(snippets) >= 10
    names: dict[str, Any] = {}
    for snippet in snippets:
        exec(compile(snippet, str(GUIDE), "exec"), names)
