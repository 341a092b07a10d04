"""nearest_code and code_residual: what they refuse, and what their codes depend on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from onesearch_fast import runtime
from onesearch_fast.ops import code_residual, nearest_code
from onesearch_fast.testing.cases.nearest_code import random_codes

X = torch.zeros(20, 4)
CODES = torch.zeros(20, dtype=torch.int32)
GROUPS = {"prices": torch.zeros(2, 3, dtype=torch.float64), "groups": CODES}
REFUSED: list[tuple[type[Exception], str, dict[str, Any]]] = [
    (TypeError, "vectors: expected a torch.Tensor", {"vectors": [[1.0]]}),
    (TypeError, "vectors: expected torch.float32", {"vectors": X.double()}),
    (ValueError, "vectors: expected shape", {"vectors": X[0]}),
    (ValueError, "vectors: .*contiguous last", {"vectors": torch.zeros(4, 20).T}),
    (ValueError, r"centroids: .*\[3, 4\].*\[3, 5\]", {"centroids": torch.zeros(3, 5)}),
    (ValueError, "centroids: expected one code or more", {"centroids": torch.zeros(0, 4)}),
    (TypeError, "centroids: expected float32", {"centroids": torch.zeros(3, 4).half()}),
    (ValueError, r"prices: .*= \[3\]", {"prices": torch.zeros(4, dtype=torch.float64)}),
    (TypeError, "prices: expected float64", {"prices": torch.zeros(3)}),
    (ValueError, "prices: expected .group, code. with groups", {"groups": CODES}),
    (ValueError, "groups: .*there are 2, got 2 at 19", GROUPS | {"groups": CODES.clone() + 2}),
    (TypeError, "groups: expected int32", GROUPS | {"groups": CODES.long()}),
    (ValueError, "out", {"out": torch.zeros(3, dtype=torch.int32)}),
    (TypeError, "out: expected int32", {"out": torch.zeros(20)}),
    (ValueError, "vectors: .*require grad", {"vectors": torch.zeros(20, 4, requires_grad=True)}),
]


@pytest.mark.parametrize("backend", ["cpu", "torch"])
@pytest.mark.parametrize(("kind", "message", "change"), REFUSED)
def test_bad_arguments_are_refused_by_name(
    kind: type[Exception], message: str, change: dict[str, Any], backend: str
) -> None:
    if "there are 2" in message:
        change["groups"][:19] = 0
    with pytest.raises(kind, match=f"nearest_code: {message}"):
        nearest_code(**({"vectors": X, "centroids": torch.zeros(3, 4)} | change), backend=backend)


@pytest.mark.parametrize("code", [-1, 3])
def test_codes_out_of_range_are_refused(code: int) -> None:
    with pytest.raises(ValueError, match=rf"codes: .*there are 3, got {code} at 0"):
        code_residual(X, torch.zeros(3, 4), torch.full_like(CODES, code))


@given(
    st.integers(1, 60),
    st.integers(1, 50),
    st.integers(1, 40),
    st.sampled_from([1e-30, 1.0, 1e20]),
)
def test_a_code_is_the_float64_argmin_whatever_the_batch(
    vectors: int, codes: int, dim: int, scale: float
) -> None:
    arguments = {name: scale * tensor for name, tensor in random_codes(vectors, codes, dim).items()}
    x, table = (tensor.double() for tensor in arguments.values())
    got = nearest_code(**arguments)
    alone = [nearest_code(row[None], arguments["centroids"]) for row in arguments["vectors"]]
    assert torch.equal(got, torch.cat(alone))
    want = (x[:, None] - table[None]).square().sum(-1).argmin(-1)
    assert torch.equal(got, want.int())


def test_threads_and_numpy_strides_change_nothing() -> None:
    arguments = random_codes(1000, 90, 20)
    before = runtime.get_num_threads()
    results = []
    for threads in (1, 3):
        runtime.set_num_threads(threads)
        results.append(nearest_code(**arguments))
    runtime.set_num_threads(before)
    assert torch.equal(*results)
    reversed_rows = torch.from_numpy(np.ascontiguousarray(arguments["vectors"].numpy()[::-1]))
    backwards = nearest_code(reversed_rows, arguments["centroids"])
    assert torch.equal(backwards.flip(0), results[0])
