"""Settings and fixtures of all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def pytest_configure(config: pytest.Config) -> None:
    # The tests of an installed wheel run without hypothesis.
    if config.pluginmanager.hasplugin("hypothesispytest"):
        from hypothesis import settings

        # The same examples on every run; and no time limits, since the machine may be busy.
        settings.register_profile("onesearch", derandomize=True, deadline=None)
        settings.load_profile("onesearch")


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder named by ONESEARCH_DATA, which holds real data; skips when it is not set."""
    folder = os.environ.get("ONESEARCH_DATA")
    if not folder:
        pytest.skip("ONESEARCH_DATA does not name a data folder")
    return Path(folder)
