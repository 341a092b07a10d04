"""Counts as callers give them."""

from __future__ import annotations

import operator
from typing import Any

from onesearch_fast.errors import invalid


def whole_number(where: str, argument: str, value: Any, least: int, most: int | None = None) -> int:
    """`value` as an int: any integer type counts, numpy's too; a bool, True for 1, does not."""
    upper = "" if most is None else f" and at most {most}"
    expected = f"an integer of at least {least}{upper}"
    try:
        number = operator.index(value)
    except TypeError:
        raise invalid(where, argument, expected, repr(value)) from None
    if isinstance(value, bool) or number < least or (most is not None and number > most):
        raise invalid(where, argument, expected, repr(value))
    return number
