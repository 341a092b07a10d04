"""What sid_embedding_bag refuses, its gradients, and what its bits depend on."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from onesearch_fast import runtime
from onesearch_fast.ops import sid_embedding_bag, sid_embedding_bag_backward
from onesearch_fast.testing.cases.sid_embedding_bag import random_bags
from onesearch_fast.testing.cases.sid_embedding_bag_backward import random_gradient

BACKENDS = ("cpu", "torch")
SIZES = (3, 2)
CODES = torch.tensor([[0, 1], [2, 0], [-1, 1]])
TABLE = torch.arange(10.0).reshape(5, 2)
SOUND: dict[str, Any] = {"codes": CODES, "table": TABLE, "level_sizes": SIZES}
FLOATS = torch.ones(3, 2)
REFUSED: list[tuple[type[Exception], str, dict[str, Any]]] = [
    (TypeError, "table: expected a torch.Tensor", {"table": [[0.0]]}),
    (TypeError, "table: expected torch.float32 or", {"table": TABLE.double()}),
    (ValueError, r"table: .*\[row, dim\] = \[5, 2\], got \[4, 2\]", {"table": TABLE[:4]}),
    (ValueError, "table: .*contiguous last", {"table": torch.zeros(2, 5).T}),
    (TypeError, "codes: expected a torch.Tensor", {"codes": [[0, 1]]}),
    (TypeError, "codes: expected integers", {"codes": CODES.float()}),
    (ValueError, "codes: expected shape", {"codes": CODES[0]}),
    (ValueError, r"codes: .*less than 3, got 3 at \[1, 0\]", {"codes": CODES.where(CODES < 2, 3)}),
    (ValueError, r"codes: .*less than 3, got -2 at \[0, 0\]", {"codes": CODES - 2}),
    (ValueError, "codes: .*2147483647 at", {"codes": CODES + 2**32}),
    (ValueError, "codes: .*level", {"level_sizes": (5,)}),
    (ValueError, "level_sizes: expected sizes", {"level_sizes": (5, 0)}),
    (ValueError, "offsets: .*rise", {"offsets": torch.tensor([0, 2])}),
    (ValueError, "offsets: .*rise", {"offsets": torch.tensor([1, 3])}),
    (ValueError, "offsets: .*got 1 at 2", {"offsets": torch.tensor([0, 2, 1, 3])}),
    (ValueError, "offsets: .*rise", {"offsets": torch.tensor([0, 4, 3])}),
    (TypeError, "offsets: expected integers", {"offsets": torch.tensor([0.0, 3.0])}),
    (ValueError, "offsets", {"offsets": torch.zeros(0, dtype=torch.int64)}),
    (ValueError, "weights", {"weights": torch.ones(2)}),
    (TypeError, "weights: expected float32", {"weights": torch.ones(3).double()}),
    (ValueError, "mode: expected 'sum' or 'mean'", {"mode": "max"}),
    (ValueError, "row_scales", {"table": TABLE.to(torch.int8)}),
    (ValueError, "row_scales", {"row_scales": torch.ones(5)}),
    (ValueError, "side_ids: .*one of them", {"side_ids": torch.zeros(3, dtype=torch.int64)}),
    (ValueError, "side_table: .*dim", {"side_ids": CODES[:, 0], "side_table": torch.ones(3, 3)}),
    (ValueError, "side_ids: .*less than 2", {"side_ids": CODES[:, 0], "side_table": TABLE[:2]}),
    (ValueError, "out", {"out": torch.zeros(2, 2)}),
    (TypeError, "out", {"out": torch.zeros(3, 2, dtype=torch.int32)}),
]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("kind", "message", "change"), REFUSED)
def test_bad_arguments_are_refused_by_name(
    kind: type[Exception], message: str, change: dict[str, Any], backend: str
) -> None:
    with pytest.raises(kind, match=f"sid_embedding_bag: {message}"):
        sid_embedding_bag(**(SOUND | change), backend=backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_sums_by_hand(backend: str) -> None:
    # Rows 0 + 4, 2 + 3, and none + 4 of [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]].
    items = torch.tensor([[8.0, 10.0], [10.0, 12.0], [8.0, 9.0]])
    assert torch.equal(sid_embedding_bag(**SOUND, backend=backend), items)
    two_bags = {**SOUND, "offsets": torch.tensor([0, 1, 3]), "backend": backend}
    assert sid_embedding_bag(**two_bags).tolist() == [[8.0, 10.0], [18.0, 21.0]]
    means = sid_embedding_bag(**two_bags, mode="mean", weights=torch.tensor([1.0, 2.0, 4.0]))
    assert means.tolist() == [[8.0, 10.0], [26.0, 30.0]]
    rows = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    positions = {"side_ids": torch.tensor([1, -1, 0]), "side_table": rows}
    assert sid_embedding_bag(**two_bags, **positions).tolist() == [[8.0, 11.0], [19.0, 21.0]]


@pytest.mark.filterwarnings("ignore:Input #. requires gradient and is not a double")
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("mode", ["sum", "mean"])
def test_gradients_are_those_of_differences(backend: str, mode: Any) -> None:
    arguments = random_bags(torch.float32, items_of=(2, 0, 3), level_sizes=(4, 3), dim=3)
    table = arguments.pop("table").requires_grad_()
    weights = torch.linspace(0.5, 1.5, 5).requires_grad_()
    side_table = torch.linspace(-1, 1, 6).reshape(2, 3).requires_grad_()
    side_ids = torch.tensor([0, 1, -1, 1, 1])

    def sums(table: torch.Tensor, weights: torch.Tensor, side: torch.Tensor) -> torch.Tensor:
        return sid_embedding_bag(
            table=table,
            weights=weights,
            side_ids=side_ids,
            side_table=side,
            mode=mode,
            backend=backend,
            **arguments,
        )

    # Linear in each argument: long steps lose nothing, and float32 is enough.
    inputs = (table, weights, side_table)
    assert torch.autograd.gradcheck(sums, inputs, eps=0.5, atol=1e-4, rtol=1e-4)


def test_half_width_tables_have_half_width_gradients() -> None:
    table = TABLE.bfloat16().requires_grad_()
    sid_embedding_bag(CODES, table, SIZES, offsets=torch.tensor([0, 3])).sum().backward()
    assert table.grad is not None and table.grad.dtype is torch.bfloat16
    assert table.grad[:, 0].tolist() == [1, 0, 1, 1, 2]
    with pytest.raises(ValueError, match="out: expected None with gradients"):
        sid_embedding_bag(CODES, table, SIZES, out=FLOATS)
    with torch.no_grad():
        assert sid_embedding_bag(CODES, table, SIZES, out=FLOATS.clone()).sum() > 0


@pytest.fixture
def threads() -> Iterator[None]:
    before = runtime.get_num_threads()
    yield
    runtime.set_num_threads(before)


def test_bits_do_not_depend_on_threads(threads: None) -> None:
    sizes: dict[str, Any] = {"items_of": (40,) * 150, "level_sizes": (700, 128, 9), "dim": 300}
    results = []
    for count in (1, 2, 5):
        runtime.set_num_threads(count)
        sums = sid_embedding_bag(**random_bags(torch.float32, **sizes))
        gradient = sid_embedding_bag_backward(**random_gradient(torch.float32, True, **sizes))
        results.append((sums, gradient))
    for sums, gradient in results[1:]:
        assert torch.equal(sums, results[0][0]) and torch.equal(gradient, results[0][1])


@settings(max_examples=60, deadline=None)
@given(
    items_of=st.lists(st.integers(0, 30), max_size=6),
    level_sizes=st.lists(st.integers(1, 70), min_size=1, max_size=4),
    dim=st.integers(1, 40),
)
def test_sums_are_those_of_embedding_bag(
    items_of: list[int], level_sizes: list[int], dim: int
) -> None:
    arguments = random_bags(torch.float32, tuple(items_of), tuple(level_sizes), dim)
    first_rows = torch.tensor([0, *level_sizes]).cumsum(0)[:-1]
    present = arguments["codes"] >= 0
    expected = torch.zeros(len(items_of), dim)
    for bag, (begin, end) in enumerate(pairwise(arguments["offsets"].tolist())):
        rows = (arguments["codes"] + first_rows)[begin:end][present[begin:end]]
        expected[bag] = arguments["table"][rows].sum(0)
    got = sid_embedding_bag(**arguments, backend="cpu")
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-5)
