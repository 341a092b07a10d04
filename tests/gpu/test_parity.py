"""Every GPU kernel x case x dtype gives what the reference gives on the CPU."""

from __future__ import annotations

import pytest
import torch

from onesearch_fast.registry import Operator, backends_of, operators, why_not
from onesearch_fast.testing.cases import Case
from onesearch_fast.testing.devices import on_device

RUNS = [
    pytest.param(
        operator, backend, case, dtype, id=f"{operator.name}-{backend}-{case.name}-{dtype}"
    )
    for operator in operators()
    for backend in backends_of(operator)
    if backend in ("cuda", "triton")
    for case in operator.cases.CASES
    for dtype in operator.dtypes
]


@pytest.mark.parametrize(("operator", "backend", "case", "dtype"), RUNS)
def test_parity(operator: Operator, backend: str, case: Case, dtype: torch.dtype) -> None:
    assert why_not(operator, backend, "cuda", dtype) is None
    arguments = case.build(dtype)
    out = on_device(operator.cases.poisoned(arguments), "cuda")
    operator.function(**on_device(arguments, "cuda"), out=out, backend=backend)
    operator.cases.check(case.build(dtype), on_device(out, "cpu"), operator.tolerance[dtype])
