"""The snippets of docs/live_store.md run as they stand, one after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def test_the_guide_runs(guide_snippets: Callable[[str], str]) -> None:
    names: dict[str, Any] = {}
    exec(compile(guide_snippets("live_store.md"), "live_store.md", "exec"), names)
    assert names["snapshot"].values("price", [9_001]) == [5]
