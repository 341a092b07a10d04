"""What the operator refuses, and the promises that hold on every backend and tier."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from onesearch_fast import runtime
from onesearch_fast.ops import beam_attention
from onesearch_fast.ops.beam_attention import OPERATOR
from onesearch_fast.testing.cases.beam_attention import (
    CONTEXT,
    OWN,
    check,
    poisoned,
    random_attention,
)

BACKENDS = ("cpu", "torch")


def attention(**changes: Any) -> dict[str, Any]:
    """batch 2, beam 5, head 4, kv_head 2, head_dim 32, prompt 20, step 3."""
    return random_attention(torch.float32) | changes


def without(*names: str) -> dict[str, None]:
    return dict.fromkeys(names)


LENGTHS = torch.tensor([3, 21], dtype=torch.int32)
NEGATED = torch.zeros(2, 5, 4, 32, dtype=torch.cfloat).conj().imag
BFLOAT16 = torch.zeros(2, 2, 20, 32).bfloat16()
ANCESTRY = torch.zeros(2, 5, 3, dtype=torch.int32)
REFUSED = [
    (TypeError, "query: expected a torch.Tensor", {"query": np.zeros((2, 5, 4, 32))}),
    (TypeError, "query: expected torch.float32 or", {"query": torch.zeros(2, 5, 4, 32).double()}),
    (ValueError, r"query: expected shape \[batch, beam, head,", {"query": torch.zeros(2, 5, 128)}),
    (ValueError, "head_dim from 1 to 512, got 0", {"query": torch.zeros(2, 5, 4, 0)}),
    (ValueError, "head_dim from 1 to 512, got 520", {"query": torch.zeros(2, 5, 4, 520)}),
    (ValueError, "kv_head = 2 as heads, got 3", {"query": torch.zeros(2, 5, 3, 32)}),
    (ValueError, "kv_head = 2 as heads, got 0", {"query": torch.zeros(2, 5, 0, 32)}),
    (ValueError, "query: .*contiguous last", {"query": torch.zeros(2, 5, 4, 64)[..., ::2]}),
    (TypeError, "context_key: expected float32, got b", {"context_key": BFLOAT16}),
    (ValueError, "context_key: expected 4 axes", {"context_key": torch.zeros(2)}),
    (ValueError, r"= \[2, 2, 20, 32\]", {"context_key": torch.zeros(1, 2, 20, 32)}),
    (ValueError, r"context_value: .*\[2, 2, 19", {"context_value": torch.zeros(2, 2, 19, 32)}),
    (ValueError, "context_value: expected both", {"context_value": None}),
    (ValueError, "context_length: expected none w", without("context_key", "context_value")),
    (TypeError, "context_length: expected int32, got int64", {"context_length": LENGTHS.long()}),
    (ValueError, "context_length: expected 0 to prompt = 20, got 21", {"context_length": LENGTHS}),
    (ValueError, "prompt = 20, got -3", {"context_length": -LENGTHS}),
    (ValueError, "own_key: expected all of own_key, own_value", {"ancestry": None}),
    (ValueError, "own_key: expected 5 axes", {"own_key": torch.zeros(2, 3)}),
    (ValueError, r"own_value: .*\[2, 3, 5, 2, 32\]", {"own_value": torch.zeros(2, 3, 4, 2, 32)}),
    (ValueError, r"own_key: .*= \[2, 3, 5, 2, 32\], got", {"own_key": torch.zeros(2, 3, 5, 4, 32)}),
    (TypeError, "ancestry: expected int32", {"ancestry": ANCESTRY.long()}),
    (ValueError, r"\[batch, beam, step\] = \[2, 5, 3\]", {"ancestry": ANCESTRY[:, 1:]}),
    (ValueError, "ancestry: expected 0 to own_beam - 1 = 4, got 5", {"ancestry": ANCESTRY + 5}),
    (ValueError, "own_beam - 1 = 4, got -1", {"ancestry": ANCESTRY - 1}),
    (ValueError, "context_key: expected a context, own tokens, or both", without(*CONTEXT, *OWN)),
    (ValueError, "scale: expected a finite number above 0", {"scale": 0.0}),
    (ValueError, "scale: expected a finite number above 0", {"scale": float("nan")}),
    (TypeError, "out: expected float32", {"out": torch.zeros(2, 5, 128).half()}),
    (ValueError, r"out: expected \[batch, beam, head \* head_", {"out": torch.zeros(2, 5, 4, 32)}),
    (ValueError, "out: expected a contiguous last", {"out": torch.zeros(2, 5, 256)[..., ::2]}),
    (
        ValueError,
        "own_key: expected a tensor that does not",
        {"own_key": torch.zeros(1, requires_grad=True)},
    ),
    (ValueError, "a negated view", {"query": NEGATED}),
]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("error", "sentence", "changes"), REFUSED)
def test_bad_arguments_are_refused(
    error: type[Exception], sentence: str, changes: dict[str, Any], backend: str
) -> None:
    with pytest.raises(error, match=sentence) as raised:
        beam_attention(**attention(**changes), backend=backend)
    assert str(raised.value).startswith("beam_attention: ")


@pytest.mark.parametrize("backend", BACKENDS)
def test_out_is_filled_in_place(backend: str) -> None:
    arguments = attention()
    out = poisoned(arguments)
    address = out.data_ptr()
    assert beam_attention(**arguments, out=out, backend=backend) is out
    assert out.data_ptr() == address
    assert torch.equal(out, beam_attention(**arguments, backend=backend))


def test_out_may_be_a_part_of_larger_memory() -> None:
    arguments = attention()
    memory = torch.zeros(2, 7, 150)
    beam_attention(**arguments, out=memory[:, 1:6, 9:137])
    assert torch.equal(memory[:, 1:6, 9:137], beam_attention(**arguments))
    memory[:, 1:6, 9:137] = 0
    assert not memory.any()


def test_gradients_need_not_be_refused_where_none_are_kept() -> None:
    arguments = attention()
    arguments["query"].requires_grad_()
    with torch.no_grad():
        check(arguments, beam_attention(**arguments), OPERATOR.tolerance[torch.float32])


def one_request(arguments: dict[str, Any], request: int) -> dict[str, Any]:
    return {name: tensor[request : request + 1] for name, tensor in arguments.items()}


@pytest.mark.parametrize("dtype", OPERATOR.dtypes, ids=str)
@pytest.mark.parametrize("backend", BACKENDS)
def test_the_bits_do_not_depend_on_the_batch(backend: str, dtype: torch.dtype) -> None:
    arguments = random_attention(dtype, batch=5, beams=9, prompt=140)
    together = beam_attention(**arguments, backend=backend)
    for request in range(5):
        alone = beam_attention(**one_request(arguments, request), backend=backend)
        assert torch.equal(alone, together[request : request + 1])


@pytest.mark.parametrize("dtype", OPERATOR.dtypes, ids=str)
def test_the_bits_of_a_beam_do_not_depend_on_the_other_beams(dtype: torch.dtype) -> None:
    arguments = random_attention(dtype, beams=75, prompt=140)
    together = beam_attention(**arguments)
    for beams in (slice(0, 1), slice(3, 20), slice(70, 75)):
        some = {name: arguments[name][:, beams] for name in ("query", "ancestry")}
        assert torch.equal(beam_attention(**arguments | some), together[:, beams])


@pytest.mark.parametrize("dtype", OPERATOR.dtypes, ids=str)
def test_the_bits_do_not_depend_on_what_stands_past_a_prompt(dtype: torch.dtype) -> None:
    arguments = random_attention(dtype, batch=1, prompt=300)
    arguments["context_length"].fill_(130)
    cut = {name: arguments[name][:, :, :130] for name in ("context_key", "context_value")}
    assert torch.equal(
        beam_attention(**arguments), beam_attention(**arguments | cut | {"context_length": None})
    )


def test_the_bits_do_not_depend_on_the_number_of_threads() -> None:
    arguments = random_attention(torch.float32, batch=3, beams=90, head_dim=64, prompt=200)
    before = runtime.get_num_threads()
    try:
        results = []
        for num_threads in (1, 2, 5):
            runtime.set_num_threads(num_threads)
            results.append(beam_attention(**arguments))
    finally:
        runtime.set_num_threads(before)
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


@settings(max_examples=60, deadline=None)
@given(
    batch=st.integers(0, 3),
    beams=st.integers(1, 40),
    kv_heads=st.integers(1, 3),
    group=st.integers(1, 5),
    head_dim=st.integers(1, 48),
    prompt=st.integers(0, 150),
    steps=st.integers(0, 5),
    dtype=st.sampled_from(OPERATOR.dtypes),
)
def test_every_size_agrees_with_the_reference(dtype: torch.dtype, **sizes: int) -> None:
    arguments = random_attention(dtype, **sizes)
    check(arguments, beam_attention(**arguments), OPERATOR.tolerance[dtype])


@given(st.integers(1, 200))
@settings(max_examples=20, deadline=None)
def test_weights_sum_to_one(prompt: int) -> None:
    arguments = random_attention(torch.float32, prompt=prompt)
    for name in ("context_value", "own_value"):
        arguments[name].fill_(2.0)
    result = beam_attention(**arguments)
    torch.testing.assert_close(result, torch.full_like(result, 2.0))
