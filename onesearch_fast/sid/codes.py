"""Names of code tokens, and level sizes that fit a catalogue."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

from onesearch_fast.errors import invalid

_FIRST_LETTER = ord("a")


class LevelSizes(NamedTuple):
    """Codes per residual level, and per OPQ level."""

    residual: tuple[int, ...]
    opq: tuple[int, ...]


def code_token_names(level_sizes: Sequence[int], num_residual_levels: int) -> list[list[str]]:
    """One list of token names a level, in code order.

    Residual level l has its own letter: `<a_0>`, `<b_17>`. The OPQ levels share the next letter,
    each offset by the codes before it: with (256, 256) the second begins at `<d_256>`. The offset
    is in the names only; codes are local to their level everywhere.
    """
    where = "code_token_names"
    if not level_sizes or any(size < 1 for size in level_sizes):
        raise invalid(where, "level_sizes", "one positive size or more", level_sizes)
    if not 0 <= num_residual_levels <= len(level_sizes):
        expected = f"an integer in [0, {len(level_sizes)}]"
        raise invalid(where, "num_residual_levels", expected, num_residual_levels)
    residual = [(chr(_FIRST_LETTER + level), 0) for level in range(num_residual_levels)]
    opq_sizes = level_sizes[num_residual_levels:]
    letter = chr(_FIRST_LETTER + num_residual_levels)
    opq = [(letter, offset) for offset in accumulate((0, *opq_sizes[:-1]))] if opq_sizes else []
    return [
        [f"<{letter}_{offset + code}>" for code in range(size)]
        for (letter, offset), size in zip(residual + opq, level_sizes, strict=True)
    ]


def suggest_level_sizes(num_items: int, opq: bool = True) -> LevelSizes:
    """Level sizes for a catalogue of `num_items` distinct texts.

    The first level gets the power of two nearest to num_items / 20 (at most 4096), so that a first
    code covers about twenty items; the others keep the proportions of 4096-1024-512-256-256, the
    sizes of a large catalogue, except that the OPQ levels stay as large as level 3 while that is
    under 256. From 58,000 items on the large sizes come out. docs/semantic_ids.md has the
    measurements behind the rule.
    """
    if num_items < 1:
        raise invalid("suggest_level_sizes", "num_items", "at least 1", num_items)
    first = min(4096, _power_of_two(num_items / 20))
    first = max(first, min(8, _power_of_two(num_items / 4)))
    least = min(8, first)
    second, third = max(least, first // 4), max(least, first // 8)
    return LevelSizes((first, second, third), (min(256, third),) * 2 if opq else ())


def _power_of_two(value: float) -> int:
    """The power of two nearest to `value` in ratio, at least 1."""
    return 1 << max(0, round(math.log2(max(value, 1))))
