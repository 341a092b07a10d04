"""Results name the machine, the threads (one, unless --threads says more), versions and rivals."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import onesearch_fast
from onesearch_fast import runtime
from onesearch_fast.testing import time_alternating

sys.path.insert(0, str(Path(__file__).parent))  # where static_reference is; see README.md

Rivals = Mapping[str, Callable[[], Any]]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--threads", type=int, default=1, help="of torch and of the native pool")
    parser.addoption("--served", type=Path, help="a served model folder, of trained weights")
    parser.addoption("--tiny", action="store_true", help="small sizes, to test the benchmarks")


@pytest.fixture
def tiny(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--tiny"))


@pytest.fixture
def served(request: pytest.FixtureRequest) -> Path | None:
    folder: Path | None = request.config.getoption("--served")
    return folder


@pytest.fixture(autouse=True)
def threads(request: pytest.FixtureRequest) -> Iterator[None]:
    before = torch.get_num_threads(), runtime.get_num_threads()
    torch.set_num_threads(request.config.getoption("--threads"))
    runtime.set_num_threads(request.config.getoption("--threads"))
    yield
    torch.set_num_threads(before[0])
    runtime.set_num_threads(before[1])


@pytest.fixture
def race(benchmark: Any) -> Callable[..., None]:
    """Checks that all rivals agree, times them in turn; pytest-benchmark times the first."""

    def run(
        rivals: Rivals,
        assert_equal: Callable[[Any, Any], None],
        repeats: int = 11,
        turn_seconds: float = 0.0,
    ) -> None:
        timings = time_alternating(rivals, assert_equal, repeats, turn_seconds)
        benchmark.extra_info["rivals"] = {name: asdict(t) for name, t in timings.items()}
        benchmark(next(iter(rivals.values())))

    return run


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: Any) -> None:
    machine_info.pop("node", None)  # whose machine it is says nothing about speed
    machine_info["threads"] = config.getoption("--threads")
    machine_info["isa"] = runtime.cpu_info().kernels
    machine_info["versions"] = {
        "onesearch_fast": onesearch_fast.__version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
    }
