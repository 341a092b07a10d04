"""Weights packed for oneDNN: the products of plain ones, whatever they are put together from."""

from __future__ import annotations

import pytest
import torch

from onesearch_fast.models.linear import linear, linear_add, linear_mul
from onesearch_fast.models.onednn_weight import OnednnWeight

CPU = torch.device("cpu")
DTYPES = [dtype for dtype in (torch.float32, torch.bfloat16) if OnednnWeight.serves(dtype, CPU)]


def random_weight(rows: int, columns: int, dtype: torch.dtype) -> torch.Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(rows)).to(dtype)


def packed(weight: torch.Tensor) -> OnednnWeight:
    made = OnednnWeight.allocate(*weight.shape, weight.dtype)
    made.copy_(weight)
    return made


def close(got: torch.Tensor, expected: torch.Tensor) -> None:
    tolerance = 1e-4 if got.dtype == torch.float32 else 0.05
    torch.testing.assert_close(got, expected, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [1, 3, 64, 300])
@pytest.mark.parametrize("sizes", [(64, 64), (100, 40), (1, 7), (17, 1)])
def test_products_are_those_of_the_plain_weight(
    sizes: tuple[int, int], rows: int, dtype: torch.dtype
) -> None:
    weight = random_weight(*sizes, dtype)
    x, other = random_weight(rows, sizes[1], dtype), random_weight(rows, sizes[0], dtype)
    bias = random_weight(1, sizes[0], dtype)[0]
    made = packed(weight)
    expected = torch.nn.functional.linear(x.float(), weight.float(), bias.float())
    close(linear(x, made, bias), expected.to(dtype))
    close(linear_add(x, made, bias, other), (expected + other).to(dtype))
    close(linear_mul(x, made, bias, other), (expected * other).to(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_parts_make_a_whole_in_any_order(dtype: torch.dtype) -> None:
    weight, x = random_weight(60, 32, dtype), random_weight(5, 32, dtype)
    made = OnednnWeight.allocate(60, 32, dtype)
    parts = made.split([30, 10, 20])
    assert [part.shape for part in parts] == [(30, 32), (10, 32), (20, 32)]
    assert sum(part.nbytes for part in parts) == made.nbytes == weight.nbytes
    for part, rows in reversed(list(zip(parts, weight.split([30, 10, 20]), strict=True))):
        part.copy_(rows)
    assert torch.equal(linear(x, made), linear(x, packed(weight)))


def test_a_weight_of_a_transposed_checkpoint() -> None:
    weight, x = random_weight(24, 16, torch.float32), random_weight(5, 16, torch.float32)
    made = OnednnWeight.allocate(24, 16, torch.float32)
    assert made.t().shape == (16, 24)
    made.t().copy_(weight.t())
    assert torch.equal(linear(x, made), linear(x, packed(weight)))


def test_another_copy_takes_the_place_of_the_first() -> None:
    """Of which the first attempt ended halfway, as a file that cannot be read ends it."""
    first, second = (random_weight(rows, 16, torch.float32)[:40] for rows in (40, 41))
    x, made = random_weight(5, 16, torch.float32), packed(first)
    halves = made.split([20, 20])
    halves[0].copy_(torch.zeros(20, 16))
    assert torch.equal(linear(x, made), linear(x, packed(first)))
    for half, rows in zip(halves, second.split(20), strict=True):
        half.copy_(rows)
    assert torch.equal(linear(x, made), linear(x, packed(second)))


def test_other_dtypes_and_devices_are_not_packed() -> None:
    assert not OnednnWeight.serves(torch.float16, CPU)
    assert not OnednnWeight.serves(torch.float32, torch.device("meta"))
