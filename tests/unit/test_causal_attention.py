"""What the operator refuses, and the promises that hold on every backend and tier."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from onesearch_fast import runtime
from onesearch_fast.kernels.cuda import causal_attention as cuda
from onesearch_fast.ops import causal_attention
from onesearch_fast.ops.causal_attention import OPERATOR
from onesearch_fast.testing.cases.causal_attention import check, random_causal

BACKENDS = ("cpu", "torch")


def attention(**changes: Any) -> dict[str, Any]:
    """batch 2, token 20, head 4, kv_head 2, head_dim 32, prompt 20."""
    return random_causal(torch.float32) | changes


NEGATED = torch.zeros(2, 20, 4, 32, dtype=torch.cfloat).conj().imag
KEY = torch.zeros(2, 2, 20, 32)
REFUSED = [
    (TypeError, "query: expected a torch.Tensor", {"query": np.zeros((2, 20, 4, 32))}),
    (TypeError, "query: expected torch.float32 or", {"query": torch.zeros(2, 20, 4, 32).double()}),
    (ValueError, r"query: expected shape \[batch, token, head,", {"query": torch.zeros(2, 20, 9)}),
    (ValueError, "head_dim from 1 to 512, got 0", {"query": torch.zeros(2, 20, 4, 0)}),
    (ValueError, "head_dim from 1 to 512, got 520", {"query": torch.zeros(2, 20, 4, 520)}),
    (ValueError, "kv_head = 2 as heads, got 3", {"query": torch.zeros(2, 20, 3, 32)}),
    (ValueError, "prompt = 20 tokens, got 21", {"query": torch.zeros(2, 21, 4, 32)}),
    (ValueError, "query: .*contiguous last", {"query": torch.zeros(2, 20, 4, 64)[..., ::2]}),
    (TypeError, "key: expected float32, got b", {"key": KEY.bfloat16()}),
    (ValueError, "key: expected 4 axes", {"key": KEY[0]}),
    (ValueError, r"key: .*= \[2, 2, 20, 32\]", {"key": KEY[:1]}),
    (ValueError, r"value: .*\[2, 2, 19", {"value": KEY[:, :, 1:]}),
    (TypeError, "key: expected a t", {"key": None}),
    (ValueError, "scale: expected a finite number above 0", {"scale": 0.0}),
    (ValueError, "scale: expected a finite number above 0", {"scale": float("inf")}),
    (TypeError, "out: expected float32", {"out": torch.zeros(2, 20, 128).half()}),
    (ValueError, r"out: expected \[batch, token, head \* h", {"out": torch.zeros(2, 20, 4, 32)}),
    (ValueError, "out: expected a contiguous last", {"out": torch.zeros(2, 20, 256)[..., ::2]}),
    (ValueError, "value: .*does not", {"value": KEY.clone().requires_grad_()}),
    (ValueError, "a negated view", {"query": NEGATED}),
]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("error", "sentence", "changes"), REFUSED)
def test_bad_arguments_are_refused(
    error: type[Exception], sentence: str, changes: dict[str, Any], backend: str
) -> None:
    with pytest.raises(error, match=sentence) as raised:
        causal_attention(**attention(**changes), backend=backend)
    assert str(raised.value).startswith("causal_attention: ")


def test_out_may_be_a_part_of_larger_memory() -> None:
    memory = torch.zeros(2, 22, 150)
    part = memory[:, 1:21, 9:137]
    assert causal_attention(**attention(), out=part) is part
    assert torch.equal(part, causal_attention(**attention()))
    part.zero_()
    assert not memory.any()


@pytest.mark.parametrize("dtype", OPERATOR.dtypes, ids=str)
@pytest.mark.parametrize("backend", BACKENDS)
def test_the_bits_do_not_depend_on_the_batch(backend: str, dtype: torch.dtype) -> None:
    arguments = random_causal(dtype, batch=4, tokens=140)
    together = causal_attention(**arguments, backend=backend)
    for request in range(4):
        one = {name: tensor[request : request + 1] for name, tensor in arguments.items()}
        assert torch.equal(
            causal_attention(**one, backend=backend), together[request : request + 1]
        )


@pytest.mark.parametrize("group", [1, 2, 3])
@pytest.mark.parametrize("dtype", OPERATOR.dtypes, ids=str)
def test_the_bits_do_not_depend_on_what_is_read_at_a_time(dtype: torch.dtype, group: int) -> None:
    arguments = random_causal(dtype, tokens=300, group=group)
    whole = causal_attention(**arguments)
    query, key, value = arguments.values()
    begin = 0
    for end in (1, 32, 33, 160, 300):
        part = causal_attention(query[:, begin:end], key[:, :, :end], value[:, :, :end])
        assert torch.equal(part, whole[:, begin:end])
        begin = end


def test_the_bits_do_not_depend_on_the_number_of_threads() -> None:
    arguments = random_causal(torch.float32, batch=3, tokens=200, head_dim=64)
    before = runtime.get_num_threads()
    try:
        results = []
        for num_threads in (1, 2, 5):
            runtime.set_num_threads(num_threads)
            results.append(causal_attention(**arguments))
    finally:
        runtime.set_num_threads(before)
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


def test_a_token_does_not_depend_on_later_ones() -> None:
    arguments = attention()
    before = causal_attention(**arguments)
    for name in ("key", "value"):
        arguments[name][:, :, 12:] += 9.0
    after = causal_attention(**arguments)
    assert torch.equal(after[:, :12], before[:, :12])
    assert not torch.isclose(after[:, 12:], before[:, 12:]).all()


@settings(max_examples=60, deadline=None)
@given(
    batch=st.integers(0, 3),
    tokens=st.integers(0, 90),
    before=st.integers(0, 150),
    kv_heads=st.integers(1, 3),
    group=st.integers(1, 5),
    head_dim=st.integers(1, 48),
    dtype=st.sampled_from(OPERATOR.dtypes),
)
def test_every_size_agrees_with_the_reference(
    dtype: torch.dtype, tokens: int, before: int, **sizes: int
) -> None:
    arguments = random_causal(dtype, tokens=tokens, prompt=tokens + before, **sizes)
    check(arguments, causal_attention(**arguments), OPERATOR.tolerance[dtype])


@pytest.mark.parametrize(
    ("tokens", "kv_heads", "dtype", "fused"),
    [
        (5, 2, torch.float32, True),
        (5, 1, torch.bfloat16, True),
        (5, 1, torch.float32, False),
        (3, 2, torch.bfloat16, False),
    ],
)
def test_a_gpu_takes_torchs_kernels_where_they_are_fused(
    tokens: int, kv_heads: int, dtype: torch.dtype, fused: bool
) -> None:
    query = torch.zeros(1, tokens, 2, 8, dtype=dtype)
    assert cuda._fused(query, torch.zeros(1, kv_heads, 5, 8, dtype=dtype)) == fused
