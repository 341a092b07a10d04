"""From an expression to what native code evaluates: conditions as closed intervals of values.

Comparisons are exact, whatever a column is stored as: an integer column against 2.5, or a float32
column against 0.1, which no float32 is, give what comparing the numbers themselves gives.
"""

from __future__ import annotations

import difflib
import math
import sys
from collections.abc import Mapping
from typing import Literal

from onesearch_fast import _C
from onesearch_fast.errors import invalid
from onesearch_fast.index.expressions import (
    AllOf,
    AnyOf,
    Between,
    Comparison,
    ContainsAny,
    Expression,
    IsIn,
    IsMissing,
    Not,
    Value,
)

Kind = Literal["bool", "integer", "real", "category", "categories"]
Kinds = Mapping[str, Kind]

Number = int | float
# (operator, bound), of which all hold.
Bounds = tuple[tuple[str, Number], ...]

_MIN, _MAX = -(2**63), 2**63 - 1
_CONDITIONS_OF = {
    "bool": "==, !=, isin or is_missing",
    "category": "==, !=, isin or is_missing",
    "categories": "contains, contains_any or is_missing",
}


def compile_predicate(where: str, expression: Expression, kinds: Kinds) -> _C.ItemPredicate:
    """The native form of `expression` over columns of these kinds, by name.

    Raises ValueError for a column that is not there, TypeError for a comparison its kind does not
    have; `where` opens the sentence.
    """
    compiler = _Compiler(where, kinds)
    compiler.add(expression)
    return compiler.predicate


class _Compiler:
    def __init__(self, where: str, kinds: Kinds) -> None:
        self._where = where
        self._kinds = kinds
        self.predicate = _C.ItemPredicate()

    def add(self, expression: Expression) -> None:
        """Adds the condition to the predicate, in postfix order."""
        if isinstance(expression, AllOf | AnyOf):
            for part in expression.parts:
                self.add(part)
            join = (
                self.predicate.join_all
                if isinstance(expression, AllOf)
                else self.predicate.join_any
            )
            join(len(expression.parts))
        elif isinstance(expression, Not):
            self.add(expression.part)
            self.predicate.negate()
        elif isinstance(expression, IsMissing):
            self._kind(expression.column)
            self.predicate.add_missing(expression.column)
        elif isinstance(expression, ContainsAny):
            self._contains_any(expression)
        elif isinstance(expression, Comparison) and expression.operator == "!=":
            self._equals(expression.column, (expression.value,))
            self._negate_present(expression.column)
        elif isinstance(expression, Comparison) and expression.operator == "==":
            self._equals(expression.column, (expression.value,))
        elif isinstance(expression, IsIn):
            self._equals(expression.column, expression.values)
        else:
            self._ordered(expression)

    def _kind(self, column: str) -> Kind:
        if column in self._kinds:
            return self._kinds[column]
        near = difflib.get_close_matches(column, self._kinds, n=1)
        remedy = f"did you mean {near[0]!r}?" if near else None
        expected = f"one of the columns {', '.join(self._kinds)}"
        raise invalid(self._where, "where", expected, repr(column), remedy)

    def _mismatch(self, column: str, expected: str, got: object) -> TypeError:
        argument = f"where, column {column!r} of kind {self._kinds[column]}"
        return invalid(self._where, argument, expected, got, kind=TypeError)

    def _negate_present(self, column: str) -> None:
        self.predicate.negate()
        self.predicate.add_missing(column)
        self.predicate.negate()
        self.predicate.join_all(2)

    def _contains_any(self, expression: ContainsAny) -> None:
        column = expression.column
        if self._kind(column) != "categories":
            raise self._mismatch(column, "==, or isin, as it holds one value", "contains")
        self.predicate.add_texts(column, self._texts(column, expression.values))

    def _equals(self, column: str, values: tuple[Value, ...]) -> None:
        kind = self._kind(column)
        if kind == "categories":
            raise self._mismatch(column, "contains, as it holds a list", "==")
        if kind == "category":
            self.predicate.add_texts(column, self._texts(column, values))
        elif kind == "bool":
            self._truths(column, values)
        elif kind == "integer":
            whole = [int(v) for v in self._numbers(column, values) if v == math.floor(v)]
            points = [v for v in whole if _MIN <= v <= _MAX]
            self.predicate.add_integers(column, points, points)
        else:
            reals = [_at_most(v) for v in self._numbers(column, values) if _at_most(v) == v]
            self.predicate.add_reals(column, reals, reals)

    def _truths(self, column: str, values: tuple[Value, ...]) -> None:
        for value in values:
            if not isinstance(value, bool):
                raise self._mismatch(column, "True or False", repr(value))
            self.predicate.add_true(column)
            if not value:
                self._negate_present(column)
        self.predicate.join_any(len(values))

    def _ordered(self, expression: Expression) -> None:
        assert isinstance(expression, Comparison | Between)
        column = expression.column
        kind = self._kind(column)
        if kind not in ("integer", "real"):
            got = "between" if isinstance(expression, Between) else expression.operator
            raise self._mismatch(column, _CONDITIONS_OF[kind], got)
        if isinstance(expression, Between):
            low, high = self._numbers(column, (expression.low, expression.high))
            bounds: Bounds = ((">=", low), ("<=", high))
        else:
            bounds = ((expression.operator, self._numbers(column, (expression.value,))[0]),)
        if kind == "integer":
            least, greatest = _integers(bounds)
            known = least <= greatest
            self.predicate.add_integers(column, [least] * known, [greatest] * known)
        else:
            lowest, highest = _reals(bounds)
            self.predicate.add_reals(column, [lowest], [highest])

    def _texts(self, column: str, values: tuple[Value, ...]) -> list[str]:
        for value in values:
            if not isinstance(value, str):
                raise self._mismatch(column, "a string", repr(value))
        return [str(value) for value in values]

    def _numbers(self, column: str, values: tuple[Value, ...]) -> list[Number]:
        numbers: list[Number] = []
        for value in values:
            if isinstance(value, bool | str):
                raise self._mismatch(column, "a number", repr(value))
            numbers.append(value)
        return numbers


def _integers(bounds: Bounds) -> tuple[int, int]:
    """The least and the greatest int64 within the bounds, the former above the latter for none."""
    low, high = _MIN, _MAX
    for operator, bound in bounds:
        if operator == ">":
            low = max(low, math.floor(bound) + 1)
        elif operator == ">=":
            low = max(low, math.ceil(bound))
        elif operator == "<":
            high = min(high, math.ceil(bound) - 1)
        else:
            high = min(high, math.floor(bound))
    return low, high


def _reals(bounds: Bounds) -> tuple[float, float]:
    """The least and the greatest double within the bounds, the former above the latter for none."""
    low, high = -math.inf, math.inf
    for operator, bound in bounds:
        if operator in ("<", "<="):
            high = _at_most(bound)
            if operator == "<" and high == bound:
                high = math.nextafter(high, -math.inf)
        else:
            low = -_at_most(-bound)
            if operator == ">" and low == bound:
                low = math.nextafter(low, math.inf)
    return low, high


def _at_most(bound: Number) -> float:
    """The greatest double that is not above `bound`."""
    try:
        near = float(bound)
    except OverflowError:  # an integer past all finite doubles
        return sys.float_info.max if bound > 0 else -math.inf
    return near if near <= bound else math.nextafter(near, -math.inf)
