"""Expressions as JSON, for what travels between machines or is kept with a configuration.

{"column": "price", "op": "<", "value": 5}                  op: == != < <= > >=
{"column": "price", "op": "between", "low": 10, "high": 50}
{"column": "brand", "op": "in", "values": ["a", "b"]}
{"column": "category", "op": "contains_any", "values": ["shoes"]}
{"column": "brand", "op": "missing"}
{"all": [..., ...]}   {"any": [..., ...]}   {"not": ...}
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NoReturn

from onesearch_fast.errors import invalid
from onesearch_fast.index.expressions import (
    MAX_DEPTH,
    OPERATORS,
    AllOf,
    AnyOf,
    Between,
    Comparison,
    ContainsAny,
    Expression,
    IsIn,
    IsMissing,
    Not,
)

# Of an op the class and its fields after the column; a comparison is the class of all operators.
_CONDITIONS: dict[str, tuple[Callable[..., Expression], tuple[str, ...]]] = {
    "between": (Between, ("low", "high")),
    "in": (IsIn, ("values",)),
    "contains_any": (ContainsAny, ("values",)),
    "missing": (IsMissing, ()),
}
_OPS = (*OPERATORS, *_CONDITIONS)


def write(expression: Expression) -> str:
    """`expression` as one line of JSON."""
    return json.dumps(_document(expression), ensure_ascii=False, allow_nan=False)


def read(document: str | bytes) -> Expression:
    """The expression that `write` wrote."""
    if not isinstance(document, str | bytes):
        raise invalid("Expression.from_json", "document", "text", type(document), kind=TypeError)
    try:
        return _expression(_decoded(document), "$", 1)
    except TypeError as error:  # of values that do not go together
        raise ValueError(str(error)) from error


def _decoded(document: str | bytes) -> Any:
    try:
        return json.loads(document, parse_constant=_refuse)
    except RecursionError as error:
        raise _bad("$", f"at most {MAX_DEPTH} levels", "more") from error
    except ValueError as error:  # also bytes that are no UTF-8, and integers past what Python reads
        raise _bad("$", "JSON", str(error)) from error


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a number")


def _bad(place: str, expected: str, got: object, remedy: str | None = None) -> ValueError:
    return invalid("Expression.from_json", place, expected, got, remedy)


def _document(expression: Expression) -> dict[str, Any]:
    if isinstance(expression, AllOf):
        return {"all": [_document(part) for part in expression.parts]}
    if isinstance(expression, AnyOf):
        return {"any": [_document(part) for part in expression.parts]}
    if isinstance(expression, Not):
        return {"not": _document(expression.part)}
    if isinstance(expression, Comparison):
        return _on(expression.column, expression.operator, value=expression.value)
    if isinstance(expression, Between):
        return _on(expression.column, "between", low=expression.low, high=expression.high)
    if isinstance(expression, IsIn):
        return _on(expression.column, "in", values=list(expression.values))
    if isinstance(expression, ContainsAny):
        return _on(expression.column, "contains_any", values=list(expression.values))
    assert isinstance(expression, IsMissing)
    return _on(expression.column, "missing")


def _on(column: str, op: str, **fields: Any) -> dict[str, Any]:
    return {"column": column, "op": op, **fields}


def _expression(document: Any, place: str, depth: int) -> Expression:
    if depth > MAX_DEPTH:
        raise _bad(place, f"at most {MAX_DEPTH} levels", "more")
    if not isinstance(document, dict):
        raise _bad(place, "an object", document)
    if len(document) == 1:
        ((word, parts),) = document.items()
        if word == "not":
            return Not(_expression(parts, f"{place}.not", depth + 1))
        if word in ("all", "any"):
            return _join(word, parts, f"{place}.{word}", depth)
    return _condition(document, place)


def _join(word: str, parts: Any, place: str, depth: int) -> Expression:
    if not isinstance(parts, list) or len(parts) < 2:
        raise _bad(place, "a list of two objects or more", parts)
    read = tuple(_expression(part, f"{place}[{i}]", depth + 1) for i, part in enumerate(parts))
    return AllOf(read) if word == "all" else AnyOf(read)


def _condition(document: dict[str, Any], place: str) -> Expression:
    op = document.get("op")
    if op not in _OPS:
        raise _bad(f"{place}.op", f"one of {' '.join(_OPS)}", op)
    kind, fields = _CONDITIONS.get(op, (Comparison, ("value",)))
    expected = ("column", "op", *fields)
    if document.keys() != set(expected):
        raise _bad(place, f"the fields {', '.join(expected)}", ", ".join(document))
    values = [document[name] for name in fields]
    if fields == ("values",):
        if not isinstance(values[0], list):
            raise _bad(f"{place}.values", "a list", values[0])
        values[0] = tuple(values[0])
    operator = [op] if kind is Comparison else []
    return kind(document["column"], *operator, *values)
