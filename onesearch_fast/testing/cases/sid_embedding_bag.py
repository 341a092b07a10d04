"""Inputs of `sid_embedding_bag`, plain, degenerate and hostile, and how to judge a result."""

from __future__ import annotations

from functools import partial

import torch

from onesearch_fast.ops.sid_embedding_bag import sid_embedding_bag
from onesearch_fast.registry import REFERENCE, Tolerance
from onesearch_fast.testing.cases import INF, NAN, Arguments, Case, altered, plain, spread_rows
from onesearch_fast.testing.closeness import assert_close


def random_table(
    dtype: torch.dtype, rows: int, dim: int, generator: torch.Generator
) -> torch.Tensor:
    """Rows of normal numbers, or of all int8."""
    if dtype is torch.int8:
        return torch.randint(-128, 128, (rows, dim), generator=generator, dtype=torch.int8)
    return torch.randn(rows, dim, generator=generator).to(dtype)


def random_bags(
    dtype: torch.dtype,
    items_of: tuple[int, ...] = (3, 0, 7, 1),
    level_sizes: tuple[int, ...] = (40, 20, 7),
    dim: int = 40,
) -> Arguments:
    """Histories of `items_of` items each, their codes uniform; one code in twenty is absent."""
    generator = torch.Generator().manual_seed(dim + sum(items_of))
    num_items, rows = sum(items_of), sum(level_sizes)
    drawn = [torch.randint(0, size, (num_items,), generator=generator) for size in level_sizes]
    codes = torch.stack(drawn, 1).int() if drawn else torch.zeros(num_items, 0, dtype=torch.int32)
    codes[torch.rand(codes.shape, generator=generator) < 0.05] = -1
    arguments = {
        "codes": codes,
        "table": random_table(dtype, rows, dim, generator),
        "level_sizes": level_sizes,
        "offsets": torch.tensor([0, *items_of]).cumsum(0),
    }
    if dtype is torch.int8:
        arguments["row_scales"] = torch.rand(rows, generator=generator) / 64
    return arguments


_plain = partial(plain, random_bags)
_altered = partial(altered, random_bags)


def _weigh(arguments: Arguments) -> None:
    arguments["weights"] = torch.linspace(-1, 2, len(arguments["codes"]))


def _take_means(arguments: Arguments) -> None:
    arguments["mode"] = "mean"
    arguments["codes"][1] = -1  # padding, which is not counted
    _weigh(arguments)


def _add_positions(arguments: Arguments) -> None:
    offsets, table = arguments["offsets"], arguments["table"]
    num_items = len(arguments["codes"])
    starts = offsets[:-1].repeat_interleave(offsets.diff())
    arguments["side_ids"] = torch.arange(num_items) - starts
    arguments["side_ids"][0] = -1
    rows = torch.linspace(-1, 1, 200 * table.shape[1]).reshape(200, -1)
    arguments["side_table"] = rows if table.dtype is torch.int8 else rows.to(table.dtype)
    _weigh(arguments)


def _repeat_one_item(arguments: Arguments) -> None:
    arguments["codes"][:] = arguments["codes"][2]


def _remove_all_codes(arguments: Arguments) -> None:
    arguments["codes"][:] = -1


def _make_items_bags(arguments: Arguments) -> None:
    del arguments["offsets"]


def _poison(arguments: Arguments) -> None:
    if arguments["table"].dtype is not torch.int8:
        arguments["table"][3, 5] = NAN
        arguments["table"][45, 0] = -INF
        arguments["table"][0] = NAN  # what a code of -1 must not touch
        arguments["codes"][arguments["codes"][:, 0] == 0] = -1


def _widen_strides(arguments: Arguments) -> None:
    spread_rows("table")(arguments)
    arguments["codes"] = arguments["codes"].T.contiguous().T.long()


CASES = (
    Case("plain", _plain()),
    *(Case(f"dim-{dim}", _plain(dim=dim)) for dim in (1, 15, 16, 17, 127, 128, 129, 300)),
    # Levels that a group of 64 bags looks up often are tiled, the others are not.
    Case("tiled", _plain(items_of=(17,) * 70, level_sizes=(500, 130, 64, 63), dim=144)),
    Case("tiled_weights", _altered(_weigh, items_of=(90,) * 4, level_sizes=(99, 9), dim=20)),
    Case("tiled_positions", _altered(_add_positions, items_of=(190,) * 9, dim=33)),
    Case("long_and_short", _plain(items_of=(1000, 0, 1, 0), level_sizes=(64, 4096, 1))),
    Case("items", _altered(_make_items_bags, items_of=(100,), dim=130)),
    Case("weights", _altered(_weigh)),
    Case("mean", _altered(_take_means)),
    Case("positions", _altered(_add_positions)),
    Case("one_item", _altered(_repeat_one_item)),
    Case("no_codes", _altered(_remove_all_codes)),
    Case("no_items", _plain(items_of=(0, 0))),
    Case("no_bags", _plain(items_of=())),
    Case("no_columns", _plain(dim=0)),
    Case("one_level", _plain(level_sizes=(5,))),
    Case("poisoned", _altered(_poison)),
    Case("odd_strides", _altered(_widen_strides)),
)


# 64 histories of 200 items, and one; and the items of 64 histories, each by itself.
_SERVED_SIZES = {"level_sizes": (4096, 1024, 512, 256, 256), "dim": 768}
SERVED = (
    *(Case(f"{bags}x200", _plain(items_of=(200,) * bags, **_SERVED_SIZES)) for bags in (64, 1)),
    Case("12800_items", _altered(_make_items_bags, items_of=(12800,), **_SERVED_SIZES)),
)


def poisoned(arguments: Arguments) -> torch.Tensor:
    """Memory for the result in which nothing looks right, so that every entry must be written."""
    table, codes = arguments["table"], arguments["codes"]
    num_bags = len(arguments["offsets"]) - 1 if "offsets" in arguments else len(codes)
    dtype = torch.float32 if table.dtype is torch.int8 else table.dtype
    return torch.full((num_bags, table.shape[1]), 1e4, dtype=dtype)


def check(arguments: Arguments, got: torch.Tensor, tolerance: Tolerance) -> None:
    """Asserts that `got` lies within `tolerance` of the reference."""
    assert_close(got, sid_embedding_bag(**arguments, backend=REFERENCE), tolerance)
