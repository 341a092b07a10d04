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
from onesearch_fast.ops import pack_int8_weight
from onesearch_fast.testing.cases.int8_linear import random_product
from onesearch_fast.testing.cases.log_sum_exp import random_logits
from onesearch_fast.testing.cases.rms_norm import random_rows
from onesearch_fast.testing.cases.rotary import random_heads

BACKENDS = ("cpu", "torch")
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
TIERS = _C.usable_isa_tiers().split()
OPERATORS: dict[str, Callable[[torch.dtype], dict[str, Any]]] = {
    "rms_norm": lambda dtype: random_rows(dtype, rows=9, hidden=77),
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
    ("rotary", ValueError, "eps", {"eps": float("inf")}),
    ("rotary", ValueError, "out", {"out": torch.zeros(1, 2, 3, 6)}),
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
    "rotary": {"x": HEADS, "rotation": HEADS[:, :, 0]},
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


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ["rms_norm", "rotary"])
def test_a_result_may_take_the_place_of_its_input(name: str, backend: str) -> None:
    arguments = OPERATORS[name](torch.bfloat16)
    expected = getattr(ops, name)(**arguments, backend=backend)
    out = getattr(ops, name)(**arguments, out=arguments["x"], backend=backend)
    assert out is arguments["x"] and torch.equal(out, expected)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", OPERATORS)
def test_vector_tiers_give_the_same_bits(name: str, dtype: torch.dtype) -> None:
    arguments = OPERATORS[name](dtype)
    results = []
    for one in TIERS:
        with tier(one):
            results.append(getattr(ops, name)(**arguments, backend="cpu"))
    for vector in results[2:]:
        assert torch.equal(vector, results[1])
    torch.testing.assert_close(results[0], results[-1])


@pytest.mark.parametrize("name", OPERATORS)
def test_a_row_has_bits_of_its_own(name: str) -> None:
    arguments = OPERATORS[name](torch.float32)
    expected = getattr(ops, name)(**arguments, backend="cpu")
    of_rows = {"x", "rotation"} & arguments.keys()
    for row in range(len(expected)):
        alone = {key: value[row : row + 1] for key, value in arguments.items() if key in of_rows}
        got = getattr(ops, name)(**(arguments | alone), backend="cpu")
        assert torch.equal(got[0], expected[row])


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
