"""Operators under torch.compile: one node of the graph each, with shapes but no values."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from onesearch_fast import ops  # noqa: F401 (registers them)
from onesearch_fast.registry import Operator, operators

REGISTERED = [op for op in operators() if hasattr(torch.ops.onesearch, op.name)]


def plain_arguments(operator: Operator, dtype: torch.dtype = torch.float32) -> dict[str, Any]:
    case = next(case for case in operator.cases.CASES if case.name == "plain")
    return case.build(dtype)


def outputs(result: Any) -> tuple[torch.Tensor, ...]:
    return (result,) if isinstance(result, torch.Tensor) else tuple(result)


def test_operators_of_tensors_are_registered() -> None:
    names = {operator.name for operator in REGISTERED}
    attentions = {"beam_attention", "causal_attention"}
    assert names >= attentions | {"add_norm", "log_sum_exp", "rms_norm", "rotary", "swiglu"}


@pytest.mark.parametrize("operator", REGISTERED, ids=lambda operator: operator.name)
def test_opcheck(operator: Operator) -> None:
    packet = getattr(torch.ops.onesearch, operator.name)
    arguments = plain_arguments(operator)
    known = {argument.name for argument in packet.default._schema.arguments}
    given = {name: arguments.get(name) for name in known}
    torch.library.opcheck(packet.default, (), given)


@pytest.mark.parametrize("operator", REGISTERED, ids=lambda operator: operator.name)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_compiled_calls_are_one_graph(operator: Operator, dtype: torch.dtype) -> None:
    compiled = torch.compile(operator.function, fullgraph=True, backend="aot_eager")
    got = compiled(**plain_arguments(operator, dtype))
    want = operator.function(**plain_arguments(operator, dtype))
    assert type(got) is type(want)
    for one, other in zip(outputs(got), outputs(want), strict=True):
        assert one.dtype == other.dtype
        assert torch.equal(one, other)


@pytest.mark.parametrize("operator", REGISTERED, ids=lambda operator: operator.name)
def test_bad_arguments_are_refused_inside_a_graph(operator: Operator) -> None:
    arguments = plain_arguments(operator)
    main = next(iter(arguments))
    compiled = torch.compile(operator.function, backend="aot_eager")
    with pytest.raises((TypeError, RuntimeError), match=operator.name):
        compiled(**(arguments | {main: arguments[main].double()}))
