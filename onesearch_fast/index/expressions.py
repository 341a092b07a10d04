"""Conditions on attributes of items, as values: `col("price") < 5`, joined by `&`, `|` and `~`.

A condition on a value that is missing does not hold, so its negation does: `~(col("price") < 5)`
lets items without a price through, `col("price") >= 5` does not.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from onesearch_fast.errors import invalid

Value = bool | int | float | str
Operator = Literal["==", "!=", "<", "<=", ">", ">="]

OPERATORS: tuple[Operator, ...] = get_args(Operator)
MAX_DEPTH = 32  # joins within joins


class Expression(ABC):
    """A condition on the attributes of an item. Make one with `col`, `parse` or `from_json`.

    Immutable and hashable. `repr` evaluates back to it; `str` is the text that `parse` reads.
    """

    __slots__ = ()

    @staticmethod
    def parse(text: str) -> Expression:
        """The expression a text writes: `price < 5 and category in ("a", "b") and not in_stock`.

        docs/filters.md gives the grammar. Raises ValueError with the position of a mistake.
        """
        from onesearch_fast.index import expression_text

        return expression_text.parse(text)

    @staticmethod
    def from_json(document: str | bytes) -> Expression:
        """The expression that `to_json` wrote. Raises ValueError with the place of a mistake."""
        from onesearch_fast.index import expression_json

        return expression_json.read(document)

    def to_json(self) -> str:
        """One line of JSON, as `{"column": "price", "op": "<", "value": 5}`."""
        from onesearch_fast.index import expression_json

        return expression_json.write(self)

    def __str__(self) -> str:
        from onesearch_fast.index import expression_text

        return expression_text.write(self)

    @property
    def depth(self) -> int:
        """1 for a condition on a column, one more for each join around it."""
        return 1

    @property
    @abstractmethod
    def columns(self) -> frozenset[str]:
        """Names of the columns it asks about."""

    def __and__(self, other: Condition) -> Expression:
        return AllOf((self, expression_of(other)))

    def __rand__(self, other: Condition) -> Expression:
        return AllOf((expression_of(other), self))

    def __or__(self, other: Condition) -> Expression:
        return AnyOf((self, expression_of(other)))

    def __ror__(self, other: Condition) -> Expression:
        return AnyOf((expression_of(other), self))

    def __invert__(self) -> Expression:
        return Not(self)

    def __bool__(self) -> bool:
        remedy = "join conditions by & | ~, each in parentheses; low < x < high is .between"
        raise _bad("condition", "no question for its truth", repr(self), remedy, TypeError)


@dataclass(frozen=True, slots=True)
class _OnColumn(Expression):
    column: str

    def __post_init__(self) -> None:
        _set(self, "column", _name(self.column))

    @property
    def columns(self) -> frozenset[str]:
        return frozenset([self.column])


@dataclass(frozen=True, slots=True, repr=False)
class Comparison(_OnColumn):
    """value(column) operator value."""

    operator: Operator
    value: Value

    def __post_init__(self) -> None:
        _OnColumn.__post_init__(self)
        _set(self, "value", _value("value", self.value))
        if self.operator not in OPERATORS:
            raise _bad("operator", f"one of {' '.join(OPERATORS)}", self.operator)

    def __repr__(self) -> str:
        return f"(col({self.column!r}) {self.operator} {self.value!r})"


@dataclass(frozen=True, slots=True, repr=False)
class Between(_OnColumn):
    """low <= value(column) <= high."""

    low: Value
    high: Value

    def __post_init__(self) -> None:
        _OnColumn.__post_init__(self)
        _set(self, "low", _value("low", self.low))
        _set(self, "high", _value("high", self.high))

    def __repr__(self) -> str:
        return f"col({self.column!r}).between({self.low!r}, {self.high!r})"


@dataclass(frozen=True, slots=True, repr=False)
class IsIn(_OnColumn):
    """value(column) is one of the values, which stand in ascending order, each once."""

    values: tuple[Value, ...]

    def __post_init__(self) -> None:
        _OnColumn.__post_init__(self)
        _set(self, "values", _set_of_values(self.values))

    def __repr__(self) -> str:
        return f"col({self.column!r}).isin({list(self.values)!r})"


@dataclass(frozen=True, slots=True, repr=False)
class ContainsAny(_OnColumn):
    """The list of categories value(column) holds one of the values."""

    values: tuple[Value, ...]

    def __post_init__(self) -> None:
        _OnColumn.__post_init__(self)
        _set(self, "values", _set_of_values(self.values))

    def __repr__(self) -> str:
        if len(self.values) == 1:
            return f"col({self.column!r}).contains({self.values[0]!r})"
        return f"col({self.column!r}).contains_any({list(self.values)!r})"


@dataclass(frozen=True, slots=True, repr=False)
class IsMissing(_OnColumn):
    """The item has no value in the column."""

    def __repr__(self) -> str:
        return f"col({self.column!r}).is_missing()"


@dataclass(frozen=True, slots=True)
class _Join(Expression):
    """Some expressions as one; those of the same kind among them give their parts."""

    parts: tuple[Expression, ...]
    _depth: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        kind = type(self)
        flat: list[Expression] = []
        for part in self.parts:
            flat.extend(part.parts if isinstance(part, kind) else (part,))
        if len(flat) < 2:
            raise _bad("parts", "two expressions or more", f"{len(flat)}")
        _set(self, "parts", tuple(flat))
        _set(self, "_depth", _checked_depth(flat))

    @property
    def depth(self) -> int:
        return self._depth

    @property
    def columns(self) -> frozenset[str]:
        return frozenset[str]().union(*(part.columns for part in self.parts))


@dataclass(frozen=True, slots=True, repr=False)
class AllOf(_Join):
    """Every part holds."""

    def __repr__(self) -> str:
        return f"({' & '.join(map(repr, self.parts))})"


@dataclass(frozen=True, slots=True, repr=False)
class AnyOf(_Join):
    """A part holds."""

    def __repr__(self) -> str:
        return f"({' | '.join(map(repr, self.parts))})"


@dataclass(frozen=True, slots=True, repr=False)
class Not(Expression):
    """The part does not hold."""

    part: Expression
    _depth: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _set(self, "_depth", _checked_depth([self.part]))

    @property
    def depth(self) -> int:
        return self._depth

    @property
    def columns(self) -> frozenset[str]:
        return self.part.columns

    def __repr__(self) -> str:
        return f"~{self.part!r}"


class Column:
    """A column in an expression; alone it is the condition that a bool column is true."""

    __slots__ = ("_name",)

    __hash__ = None  # type: ignore[assignment]  # == makes an expression

    def __init__(self, name: str) -> None:
        self._name = _name(name)

    @property
    def name(self) -> str:
        """Name of the column."""
        return self._name

    def __eq__(self, value: Any) -> Expression:  # type: ignore[override]
        return Comparison(self._name, "==", value)

    def __ne__(self, value: Any) -> Expression:  # type: ignore[override]
        return Comparison(self._name, "!=", value)

    def __lt__(self, value: Any) -> Expression:
        return Comparison(self._name, "<", value)

    def __le__(self, value: Any) -> Expression:
        return Comparison(self._name, "<=", value)

    def __gt__(self, value: Any) -> Expression:
        return Comparison(self._name, ">", value)

    def __ge__(self, value: Any) -> Expression:
        return Comparison(self._name, ">=", value)

    def between(self, low: Any, high: Any) -> Expression:
        """low <= value <= high."""
        return Between(self._name, low, high)

    def isin(self, values: Iterable[Any]) -> Expression:
        """The value is one of `values`."""
        return IsIn(self._name, _listed(values))

    def contains(self, value: Any) -> Expression:
        """A column of lists: `value` is among the item's categories."""
        return ContainsAny(self._name, (value,))

    def contains_any(self, values: Iterable[Any]) -> Expression:
        """A column of lists: one of `values` is among the item's categories."""
        return ContainsAny(self._name, _listed(values))

    def is_missing(self) -> Expression:
        """The item has no value (None or NaN in the column)."""
        return IsMissing(self._name)

    def __and__(self, other: Condition) -> Expression:
        return expression_of(self) & other

    def __rand__(self, other: Condition) -> Expression:
        return expression_of(other) & self

    def __or__(self, other: Condition) -> Expression:
        return expression_of(self) | other

    def __ror__(self, other: Condition) -> Expression:
        return expression_of(other) | self

    def __invert__(self) -> Expression:
        return Not(expression_of(self))

    def __bool__(self) -> bool:
        return bool(expression_of(self))

    def __repr__(self) -> str:
        return f"col({self._name!r})"


Condition = Expression | Column


def col(name: str) -> Column:
    """The column `name`, for use in an expression: `(col("price") < 5) & col("in_stock")`."""
    return Column(name)


def expression_of(condition: Any) -> Expression:
    """`condition` itself, or that the bool column it names is true."""
    if isinstance(condition, Expression):
        return condition
    if isinstance(condition, Column):
        return Comparison(condition.name, "==", True)
    remedy = "parenthesise comparisons: (col('a') < 5) & (col('b') == 'x')"
    raise _bad("condition", "an expression or col(...)", type(condition), remedy, TypeError)


def condition_of(condition: Condition | str) -> Expression:
    """The expression of a condition as callers give it, parsed where it is a text."""
    return Expression.parse(condition) if isinstance(condition, str) else expression_of(condition)


def is_unicode(text: str) -> bool:
    """Whether UTF-8 can hold `text`: it has no half of a surrogate pair."""
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def _bad(
    argument: str,
    expected: str,
    got: object,
    remedy: str | None = None,
    kind: type[Exception] = ValueError,
) -> Exception:
    return invalid("Expression", argument, expected, got, remedy, kind)


def _set(expression: Expression, name: str, value: Any) -> None:
    object.__setattr__(expression, name, value)  # the way for a frozen dataclass to finish itself


def _name(name: Any) -> str:
    if not isinstance(name, str):
        raise _bad("column", "a name", type(name), kind=TypeError)
    if not name or not is_unicode(name):
        raise _bad("column", "a name of one character or more, of valid Unicode", name)
    return name


def _value(argument: str, value: Any) -> Value:
    if hasattr(value, "item") and getattr(value, "ndim", 0) == 0:
        value = value.item()  # a scalar of numpy or torch
    if not isinstance(value, bool | int | float | str):
        remedy = "for items without a value use .is_missing()" if value is None else None
        raise _bad(argument, "a number, a string or a bool", type(value), remedy, TypeError)
    if isinstance(value, float) and not math.isfinite(value):
        remedy = "for items without a value use .is_missing()"
        raise _bad(argument, "a finite number", value, remedy)
    if isinstance(value, str) and not is_unicode(value):
        raise _bad(argument, "valid Unicode", value)
    return value


def _listed(values: Iterable[Any]) -> tuple[Any, ...]:
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise _bad("values", "a list of values", type(values), "put it in a list", TypeError)
    return tuple(values)


def _set_of_values(values: tuple[Any, ...]) -> tuple[Value, ...]:
    checked = [_value("values", value) for value in values]
    kinds = {"number" if type(one) in (int, float) else type(one).__name__ for one in checked}
    if len(kinds) > 1:
        raise _bad("values", "values of one type", " and ".join(sorted(kinds)), kind=TypeError)
    return tuple(sorted(set(checked)))


def _checked_depth(parts: list[Expression]) -> int:
    depth = 1 + max(part.depth for part in parts)
    if depth > MAX_DEPTH:
        remedy = "join many conditions in one step of & or |, or use isin"
        raise _bad("depth", f"at most {MAX_DEPTH} joins within joins", f"{depth}", remedy)
    return depth
