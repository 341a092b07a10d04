"""Histories of semantic IDs as sums of their embeddings, against `torch.nn.functional`.

Forward as searches need it, and forward with backward as training does. Expanding the bags by
look-ups of each level, reported only, writes some 200 MB a round and so leaves the caches empty to
whoever comes next: it has a test of its own, and elsewhere each rival finds what the other left.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from onesearch_fast.ops import sid_embedding_bag
from onesearch_fast.registry import Tolerance
from onesearch_fast.testing import assert_close

LEVEL_SIZES = (4096, 1024, 512, 256, 256)
DTYPES = (torch.float32, torch.bfloat16)
# bags, items of each
HISTORIES = {"64-histories": (64, 200), "1-history": (1, 200), "10k-items": (10000, 1)}
# torch sums bfloat16 gradients in bfloat16: some 200 terms, each rounded.
TOLERANCES = {torch.float32: Tolerance(1e-4, 1e-3), torch.bfloat16: Tolerance(0.02, 0.5)}


def histories(
    bags: int, items: int, dtype: torch.dtype, dim: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """(codes, the same as rows of the table, offsets, table)"""
    generator = torch.Generator().manual_seed(0)
    drawn = [torch.randint(0, s, (bags * items,), generator=generator) for s in LEVEL_SIZES]
    codes = torch.stack(drawn, 1)
    rows = codes + torch.tensor([0, *LEVEL_SIZES[:-1]]).cumsum(0)
    table = torch.randn(sum(LEVEL_SIZES), dim, generator=generator).to(dtype)
    return codes.int(), rows, torch.arange(bags + 1) * items, table


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", HISTORIES)
def test_sid_embedding_bag(
    race: Callable[..., None], tiny: bool, shape: str, dtype: torch.dtype
) -> None:
    codes, rows, offsets, table = histories(*HISTORIES[shape], dtype, 32 if tiny else 768)
    out = torch.empty(len(offsets) - 1, table.shape[1], dtype=dtype)
    flat, starts = rows.flatten(), offsets[:-1] * len(LEVEL_SIZES)
    rivals = {
        "cpu": lambda: sid_embedding_bag(codes, table, LEVEL_SIZES, offsets=offsets, out=out),
        "embedding_bag": lambda: F.embedding_bag(flat, table, starts, mode="sum"),
    }
    race(rivals, lambda ours, theirs: assert_close(theirs, ours, TOLERANCES[dtype]))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", HISTORIES)
def test_look_ups(race: Callable[..., None], tiny: bool, shape: str, dtype: torch.dtype) -> None:
    codes, rows, offsets, table = histories(*HISTORIES[shape], dtype, 32 if tiny else 768)
    out = torch.empty(len(offsets) - 1, table.shape[1], dtype=dtype)
    places = rows.T.contiguous()
    bags = torch.arange(len(offsets) - 1).repeat_interleave(offsets.diff())

    def look_ups() -> torch.Tensor:
        items = sum(table[level_rows] for level_rows in places)
        return torch.zeros_like(out).index_add_(0, bags, items)

    rivals = {
        "cpu": lambda: sid_embedding_bag(codes, table, LEVEL_SIZES, offsets=offsets, out=out),
        "look_ups": look_ups,
    }
    race(rivals, lambda ours, theirs: assert_close(theirs, ours, TOLERANCES[dtype]))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_forward_and_backward(race: Callable[..., None], tiny: bool, dtype: torch.dtype) -> None:
    codes, rows, offsets, table = histories(64, 200, dtype, 32 if tiny else 768)
    table.requires_grad_()
    flat, starts = rows.flatten(), offsets[:-1] * len(LEVEL_SIZES)
    grad_out = torch.ones(len(offsets) - 1, table.shape[1], dtype=dtype)

    def gradient_of(sums: Callable[[], torch.Tensor]) -> Callable[[], torch.Tensor]:
        return lambda: torch.autograd.grad(sums(), table, grad_out)[0]

    rivals = {
        "cpu": gradient_of(lambda: sid_embedding_bag(codes, table, LEVEL_SIZES, offsets=offsets)),
        "embedding_bag": gradient_of(lambda: F.embedding_bag(flat, table, starts, mode="sum")),
    }
    race(rivals, lambda ours, theirs: assert_close(theirs, ours, TOLERANCES[dtype]))
