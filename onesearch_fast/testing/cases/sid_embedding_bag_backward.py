"""Inputs of `sid_embedding_bag_backward`, plain and degenerate, and how to judge a result."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from onesearch_fast.ops.sid_embedding_bag_backward import sid_embedding_bag_backward
from onesearch_fast.registry import REFERENCE, Tolerance
from onesearch_fast.testing.cases import Arguments, Case, altered, plain, spread_rows
from onesearch_fast.testing.cases.sid_embedding_bag import random_bags
from onesearch_fast.testing.closeness import assert_close


def random_gradient(dtype: torch.dtype, scaled: bool = False, **sizes: Any) -> Arguments:
    """The bags of the forward cases with a gradient; `scaled`: with weights and scales."""
    bags = random_bags(dtype, **sizes)
    num_items, num_bags = len(bags["codes"]), len(bags["offsets"]) - 1
    generator = torch.Generator().manual_seed(num_items)
    gradient = torch.randn(num_bags, bags.pop("table").shape[1], generator=generator)
    scales = {
        "weights": torch.linspace(-1, 2, num_items),
        "bag_scales": torch.linspace(0.5, 1, num_bags),
    }
    return {"grad_out": gradient.to(dtype), **bags, **(scales if scaled else {})}


_plain = partial(plain, random_gradient)
_altered = partial(altered, random_gradient)


def _repeat_one_item(arguments: Arguments) -> None:
    arguments["codes"][:] = arguments["codes"][2]


CASES = (
    Case("plain", _plain()),
    *(Case(f"dim-{dim}", _plain(dim=dim)) for dim in (1, 17, 129, 300)),
    Case("scaled", _plain(scaled=True)),
    Case("many_bags", _plain(items_of=(9,) * 70, level_sizes=(130, 64), dim=20)),
    Case("many_rows", _plain(items_of=(3,), level_sizes=(200, 100), dim=5)),
    Case("one_item", _altered(_repeat_one_item)),
    Case("no_items", _plain(items_of=(0, 0))),
    Case("no_bags", _plain(items_of=())),
    Case("no_columns", _plain(dim=0)),
    Case("odd_strides", _altered(spread_rows("grad_out"))),
)


SERVED = (
    Case(
        "64x200",
        _plain(items_of=(200,) * 64, level_sizes=(4096, 1024, 512, 256, 256), dim=768),
    ),
)


def poisoned(arguments: Arguments) -> torch.Tensor:
    """Memory for the result in which nothing looks right, so that every entry must be written."""
    return torch.full((sum(arguments["level_sizes"]), arguments["grad_out"].shape[1]), 1e4)


def check(arguments: Arguments, got: torch.Tensor, tolerance: Tolerance) -> None:
    """Asserts that `got` lies within `tolerance` of the reference."""
    assert_close(got, sid_embedding_bag_backward(**arguments, backend=REFERENCE), tolerance)
