"""What the operators of layers refuse, and what holds of them on every tier of instructions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from onesearch_fast import _C, ops, runtime
from onesearch_fast.ops import AddNormResult, QueryKeyValue, pack_int8_weight
from onesearch_fast.testing.cases.add_norm import random_sum
from onesearch_fast.testing.cases.int8_linear import random_product
from onesearch_fast.testing.cases.log_sum_exp import random_logits
from onesearch_fast.testing.cases.rms_norm import random_rows
from onesearch_fast.testing.cases.rotary import random_heads
from onesearch_fast.testing.cases.swiglu import random_gates

BACKENDS = ("cpu", "torch")
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
TIERS = _C.usable_isa_tiers().split()
OPERATORS: dict[str, Callable[[torch.dtype], dict[str, Any]]] = {
    "rms_norm": lambda dtype: random_rows(dtype, rows=9, hidden=77),
    "add_norm": lambda dtype: random_sum(dtype, rows=9, hidden=77),
    "swiglu": lambda dtype: random_gates(dtype, rows=9, hidden=77),
    "rotary": lambda dtype: random_heads(dtype, tokens=5, head_dim=38),
    "log_sum_exp": lambda dtype: random_logits(dtype, rows=9, columns=1001),
    "int8_linear": lambda dtype: random_product(dtype, rows=9, inputs=772, activation="gelu"),
}


@contextmanager
def tier(name: str) -> Iterator[None]:
    before = runtime.cpu_info().kernels
    _C.set_isa_tier(name)
    try:
        yield
    finally:
        _C.set_isa_tier(before)


ROWS = torch.zeros(2, 4)
HEADS = torch.zeros(1, 2, 3, 8)
HEAD = HEADS[:, :, :1]
WEIGHT, SCALE = pack_int8_weight(torch.ones(16, 4))
NEGATED = torch.zeros(2, 4, dtype=torch.cfloat).conj().imag
REFUSED: list[tuple[str, type[Exception], str, dict[str, Any]]] = [
    ("rms_norm", TypeError, "x: expected a torch.Tensor", {"x": np.zeros((2, 4))}),
    ("rms_norm", TypeError, "x: expected torch.float32 or", {"x": ROWS.double()}),
    ("rms_norm", ValueError, r"x: expected shape \[row, hidden\]", {"x": ROWS[0]}),
    ("rms_norm", ValueError, "x: .*contiguous last", {"x": torch.zeros(4, 2).T}),
    ("rms_norm", ValueError, r"weight: .*= \[4\], got \[3\]", {"weight": ROWS[0, :3]}),
    ("rms_norm", TypeError, "weight: expected float32", {"weight": ROWS[0].half()}),
    ("rms_norm", ValueError, "eps", {"eps": -1.0}),
    ("rms_norm", ValueError, "eps", {"eps": float("nan")}),
    ("rms_norm", ValueError, "out", {"out": torch.zeros(2, 5)}),
    ("rms_norm", TypeError, "out", {"out": ROWS.half()}),
    ("rms_norm", ValueError, "x: .*require grad", {"x": torch.zeros(2, 4, requires_grad=True)}),
    ("rms_norm", ValueError, "x: .*negated", {"x": NEGATED}),
    ("rotary", TypeError, "x: expected torch.float32 or", {"x": HEADS.int()}),
    ("rotary", ValueError, r"x: expected shape \[batch, token,", {"x": HEADS[0]}),
    ("rotary", ValueError, "x: expected an even head_dim", {"x": torch.zeros(1, 2, 3, 7)}),
    ("rotary", ValueError, "rotation: expected", {"rotation": torch.zeros(1, 2, 4)}),
    ("rotary", TypeError, "rotation: expected float32", {"rotation": HEADS[:, :, 0].half()}),
    ("rotary", ValueError, "norm_weight", {"norm_weight": torch.zeros(8)}),
    ("rotary", ValueError, r"norm_weight: .*= \[2, 8\]", {"norm_weight": HEADS[0, 0]}),
    ("rotary", ValueError, "eps", {"eps": float("inf")}),
    ("rotary", ValueError, "kv_heads: expected an integer from 0 to 1", {"kv_heads": 2}),
    ("rotary", ValueError, "kv_heads", {"kv_heads": 1.0}),
    ("rotary", TypeError, "out: expected QueryKeyValue", {"out": torch.zeros(1, 2, 3, 8)}),
    ("rotary", ValueError, "out.query", {"out": QueryKeyValue(HEADS, HEADS, HEADS)}),
    ("rotary", ValueError, "out.value", {"out": QueryKeyValue(HEAD, HEAD, HEADS)}),
    ("add_norm", TypeError, "x: expected torch.float32 or", {"x": ROWS.double()}),
    ("add_norm", ValueError, r"x: expected shape \[row, hidden\]", {"x": ROWS[0]}),
    ("add_norm", ValueError, "residual: .*, got", {"residual": ROWS[:1]}),
    ("add_norm", TypeError, "residual: expected float32", {"residual": ROWS.half()}),
    ("add_norm", ValueError, r"weight: .*= \[4\], got \[3\]", {"weight": ROWS[0, :3]}),
    ("add_norm", ValueError, r"bias: .*= \[4\], got \[3\]", {"bias": ROWS[0, :3]}),
    ("add_norm", ValueError, "eps", {"eps": -1.0}),
    ("add_norm", TypeError, "out: expected AddNormResult", {"out": ROWS}),
    ("add_norm", ValueError, "out.normed", {"out": AddNormResult(ROWS, ROWS[:1])}),
    ("add_norm", ValueError, "bias: .*require grad", {"bias": torch.zeros(4, requires_grad=True)}),
    ("swiglu", TypeError, "x: expected a torch.Tensor", {"x": np.zeros((2, 4))}),
    ("swiglu", ValueError, "x: expected an even number of columns", {"x": torch.zeros(2, 3)}),
    ("swiglu", ValueError, "x: .*contiguous last", {"x": torch.zeros(4, 2).T}),
    ("swiglu", ValueError, "out", {"out": ROWS}),
    ("log_sum_exp", TypeError, "x: expected a torch.Tensor", {"x": [[1.0]]}),
    ("log_sum_exp", ValueError, "x: expected shape", {"x": torch.zeros(4)}),
    ("log_sum_exp", ValueError, "x: .*contiguous last", {"x": torch.zeros(4, 2).T}),
    ("log_sum_exp", ValueError, "out", {"out": torch.zeros(3)}),
    ("log_sum_exp", TypeError, "out: expected float32", {"out": torch.zeros(2).half()}),
    ("int8_linear", TypeError, "x: expected torch.float32 or", {"x": ROWS.int()}),
    ("int8_linear", ValueError, "x: .*contiguous last", {"x": torch.zeros(4, 2).T}),
    ("int8_linear", ValueError, "weight: expected", {"x": torch.zeros(2, 8)}),
    ("int8_linear", TypeError, "weight: expected uint8", {"weight": WEIGHT.int()}),
    ("int8_linear", ValueError, "weight: .*contiguous", {"weight": WEIGHT.mT.contiguous().mT}),
    ("int8_linear", TypeError, "weight_scale: expected a torch", {"weight_scale": [1.0]}),
    ("int8_linear", ValueError, "weight_scale: expected", {"weight_scale": SCALE[:3]}),
    ("int8_linear", TypeError, "bias: expected float32", {"bias": SCALE.half()}),
    ("int8_linear", ValueError, "activation: expected one of", {"activation": "tanh"}),
    ("int8_linear", ValueError, "added: expected", {"added": ROWS}),
    ("int8_linear", ValueError, "out: expected", {"out": ROWS}),
]
SOUND: dict[str, dict[str, Any]] = {
    "rms_norm": {"x": ROWS, "weight": ROWS[0]},
    "add_norm": {"x": ROWS, "residual": ROWS, "weight": ROWS[0]},
    "swiglu": {"x": ROWS},
    "rotary": {"x": HEADS, "rotation": HEADS[:, :, 0], "kv_heads": 1},
    "log_sum_exp": {"x": ROWS},
    "int8_linear": {"x": ROWS, "weight": WEIGHT, "weight_scale": SCALE},
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("name", "kind", "message", "change"), REFUSED)
def test_bad_arguments_are_refused_by_name(
    name: str, kind: type[Exception], message: str, change: dict[str, Any], backend: str
) -> None:
    with pytest.raises(kind, match=f"{name}: {message}"):
        getattr(ops, name)(**(SOUND[name] | change), backend=backend)


def outputs(result: torch.Tensor | tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    return (result,) if isinstance(result, torch.Tensor) else result


def in_place(name: str, arguments: dict[str, Any]) -> Any:
    """The part of the input that a result may take the place of."""
    x = arguments["x"]
    if name == "swiglu":
        return x[:, : x.shape[1] // 2]
    if name == "add_norm":
        return AddNormResult(arguments["residual"], torch.empty_like(x))
    if name == "rotary":
        kv_heads = arguments["kv_heads"]
        sizes = [x.shape[2] - 2 * kv_heads, kv_heads, kv_heads]
        return QueryKeyValue(*torch.split(x, sizes, dim=2))
    return x


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ["add_norm", "rms_norm", "rotary", "swiglu"])
def test_a_result_may_take_the_place_of_its_input(name: str, backend: str) -> None:
    arguments = OPERATORS[name](torch.bfloat16)
    expected = getattr(ops, name)(**arguments, backend=backend)
    out = in_place(name, arguments)
    assert getattr(ops, name)(**arguments, out=out, backend=backend) is out
    for got, want in zip(outputs(out), outputs(expected), strict=True):
        assert torch.equal(got, want)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", OPERATORS)
def test_vector_tiers_give_the_same_bits(name: str, dtype: torch.dtype) -> None:
    arguments = OPERATORS[name](dtype)
    results = []
    for one in TIERS:
        with tier(one):
            results.append(outputs(getattr(ops, name)(**arguments, backend="cpu")))
    for vector in results[2:]:
        assert all(map(torch.equal, vector, results[1]))
    torch.testing.assert_close(results[0], results[-1])


@pytest.mark.parametrize("name", OPERATORS)
def test_a_row_has_bits_of_its_own(name: str) -> None:
    arguments = OPERATORS[name](torch.float32)
    expected = outputs(getattr(ops, name)(**arguments, backend="cpu"))
    of_rows = {"x", "residual", "rotation"} & arguments.keys()
    for row in range(len(expected[0])):
        alone = {key: value[row : row + 1] for key, value in arguments.items() if key in of_rows}
        got = outputs(getattr(ops, name)(**(arguments | alone), backend="cpu"))
        for one, all_rows in zip(got, expected, strict=True):
            assert torch.equal(one[0], all_rows[row])


@given(
    values=st.lists(
        st.floats(-300, 300, width=32) | st.sampled_from([float("-inf"), float("inf")]),
        max_size=70,
    )
)
def test_log_sum_exp_is_that_of_torch(values: list[float]) -> None:
    x = torch.tensor([values], dtype=torch.float32)
    expected = x.double().logsumexp(-1) if values else torch.tensor([-torch.inf])
    got = ops.log_sum_exp(x, backend="cpu").to(expected.dtype)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-6)
