"""The cases of each operator, one file each: `CASES`, `poisoned` outputs, and `check`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

Arguments = dict[str, Any]
Build = Callable[[torch.dtype], Arguments]
Alter = Callable[[Arguments], None]
INF, NAN = float("inf"), float("nan")


@dataclass(frozen=True)
class Case:
    """One input on which all implementations must agree.

    `build(dtype)` makes fresh arguments for the operator's public function, the same ones at every
    call.
    """

    name: str
    build: Build


def plain(build: Callable[..., Arguments], **choices: Any) -> Build:
    """`build(dtype, **choices)`, as a case wants it."""
    return lambda dtype: build(dtype, **choices)


def altered(build: Callable[..., Arguments], alter: Alter, **choices: Any) -> Build:
    """The same, changed in place by `alter`."""

    def build_and_alter(dtype: torch.dtype) -> Arguments:
        arguments = build(dtype, **choices)
        alter(arguments)
        return arguments

    return build_and_alter


def spread_rows(*names: str) -> Alter:
    """Makes these [row, column] every other row of something wider, at an odd offset."""

    def alter(arguments: Arguments) -> None:
        for name in names:
            rows = arguments[name]
            around = NAN if rows.is_floating_point() else 77
            room = torch.full((2 * len(rows), rows.shape[1] + 3), around, dtype=rows.dtype)
            room[::2, 2:-1] = rows
            arguments[name] = room[::2, 2:-1]

    return alter


def cut_from_larger(*names: str) -> Alter:
    """Makes every axis of these a cut from something larger, at odd offsets."""

    def alter(arguments: Arguments) -> None:
        for name in names:
            tensor = arguments[name]
            room = torch.full([size + 3 for size in tensor.shape], NAN, dtype=tensor.dtype)
            cut = room[tuple(slice(1, size + 1) for size in tensor.shape)]
            cut.copy_(tensor)
            arguments[name] = cut

    return alter
