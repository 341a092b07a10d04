"""Tests that need a GPU: `benchmarks/gpu_suite.py` runs them where there is one."""

from __future__ import annotations

import pytest

from onesearch_fast.registry import gpu_why_not


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    reason = gpu_why_not()
    if reason is None:
        return
    for item in items:
        if "tests/gpu" in item.path.as_posix():
            item.add_marker(pytest.mark.skip(reason=reason))
