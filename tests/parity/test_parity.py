"""Every operator x implementation x case x dtype gives what the reference gives."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import onesearch_fast
from onesearch_fast import _C, runtime
from onesearch_fast.registry import (
    REFERENCE,
    Operator,
    backends,
    backends_of,
    operators,
    why_not,
)
from onesearch_fast.testing.cases import Case

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
# What any machine that runs the tests can run: neither may be skipped there.
EXPECTED_BACKENDS = {"cpu", REFERENCE}
# `make triton` runs the Triton kernels on the CPU.
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"

RUNS = [
    pytest.param(
        operator, backend, case, dtype, id=f"{operator.name}-{backend}-{case.name}-{dtype}"
    )
    for operator in operators()
    for backend in backends_of(operator)
    for case in operator.cases.CASES
    for dtype in operator.dtypes
]


@pytest.mark.parametrize(("operator", "backend", "case", "dtype"), RUNS)
def test_parity(operator: Operator, backend: str, case: Case, dtype: torch.dtype) -> None:
    reason = why_not(operator, backend, "cpu", dtype)
    if reason is not None:
        assert backend not in EXPECTED_BACKENDS | ({"triton"} if INTERPRETED else set()), reason
        pytest.skip(reason)
    arguments = case.build(dtype)
    out = operator.cases.poisoned(arguments)
    result = operator.function(**arguments, out=out, backend=backend)
    assert result is out
    operator.cases.check(case.build(dtype), out, operator.tolerance[dtype])
    reference = operator.function(**case.build(dtype), backend=REFERENCE)
    for output in operator.exact:
        name = output.removeprefix("out.")
        assert torch.equal(getattr(out, name), getattr(reference, name))


def _outputs(result: Any) -> list[torch.Tensor]:
    if isinstance(result, torch.Tensor):
        return [result]
    if isinstance(result, tuple):
        return list(result)
    return [output for output in vars(result).values() if isinstance(output, torch.Tensor)]


@pytest.fixture
def isa_tier() -> Iterator[Callable[[str], None]]:
    before = runtime.cpu_info().kernels
    yield _C.set_isa_tier
    _C.set_isa_tier(before)


@pytest.mark.parametrize(
    ("operator", "case"),
    [
        pytest.param(operator, case, id=f"{operator.name}-{case.name}")
        for operator in operators()
        for case in operator.cases.CASES
    ],
)
def test_tiers(operator: Operator, case: Case, isa_tier: Callable[[str], None]) -> None:
    """All vector tiers give the same bits in float32; the portable one agrees within tolerance."""
    results = {}
    for tier in _C.usable_isa_tiers().split():
        isa_tier(tier)
        results[tier] = operator.function(**case.build(torch.float32), backend="cpu")
    portable = results.pop("portable")
    operator.cases.check(case.build(torch.float32), portable, operator.tolerance[torch.float32])
    for tier, result in results.items():
        for got, want in zip(_outputs(result), _outputs(results["avx2"]), strict=True):
            assert torch.equal(got.nan_to_num(7.0), want.nan_to_num(7.0)), tier


@pytest.mark.parametrize("operator", operators(), ids=lambda operator: operator.name)
def test_operator_is_complete(operator: Operator) -> None:
    for backend in EXPECTED_BACKENDS:
        for dtype in operator.dtypes:
            assert why_not(operator, backend, "cpu", dtype) is None
    assert operator.cases.CASES
    assert len({case.name for case in operator.cases.CASES}) == len(operator.cases.CASES)
    assert operator.tolerance.keys() == set(operator.dtypes)
    assert operator.function.__doc__
    assert (BENCHMARKS / f"bench_{operator.name}.py").is_file()


def test_every_file_belongs_to_an_operator() -> None:
    package = Path(onesearch_fast.__file__).parent
    names = {operator.name for operator in operators()}
    for folder in ("ops", "testing/cases", *(f"kernels/{backend}" for backend in backends())):
        files = {path.stem for path in (package / folder).glob("[!_]*.py")}
        assert files <= names, folder
