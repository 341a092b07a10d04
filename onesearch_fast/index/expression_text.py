"""Expressions as text, for command lines and logs: `price < 5 and not category contains "shoes"`.

expression  = both {"or" both}
both        = negation {"and" negation}
negation    = "not" negation | "(" expression ")" | condition
condition   = name
            | name ("==" | "=" | "!=" | "<" | "<=" | ">" | ">=") value
            | name "between" value "and" value
            | name ["not"] "in" values
            | name "contains" (value | "any" values)
            | name "is" ["not"] "missing"
values      = "(" [value {"," value}] ")"
value       = number | "text" | 'text' | "true" | "false"
name        = letters, digits, _ and . (not a digit or . first), or anything in `backticks`
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, cast

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
    Operator,
    Value,
)

_KEYWORDS = frozenset(
    ["and", "or", "not", "between", "in", "contains", "any", "is", "missing", "true", "false"]
)
_PLAIN_NAME = re.compile(r"[^\W\d][\w.]*")
_TOKEN = re.compile(
    r"""\s*(?:
        (?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)(?![\w.])
      | (?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
      | `(?P<quoted>(?:[^`]|``)+)`
      | (?P<word>[^\W\d][\w.]*)
      | (?P<symbol>==|!=|<=|>=|[=<>(),])
    )""",
    re.VERBOSE | re.DOTALL,
)

# What a text in single quotes writes otherwise than one in double quotes, which are JSON's.
_QUOTE = re.compile(r"\\.|\"", re.DOTALL)
_REQUOTED = {r"\'": "'", '"': r"\""}

Kind = Literal["number", "string", "quoted", "word", "symbol", "end"]


@dataclass(frozen=True, slots=True)
class _Token:
    kind: Kind
    text: str
    position: int

    def is_word(self, *words: str) -> bool:
        return self.kind == "word" and self.text in words

    def is_symbol(self, *symbols: str) -> bool:
        return self.kind == "symbol" and self.text in symbols


def parse(text: str) -> Expression:
    """The expression that `text` writes."""
    if not isinstance(text, str):
        raise invalid("Expression.parse", "text", "a string", type(text), kind=TypeError)
    try:
        return _Parser(text).parse()
    except TypeError as error:  # of values that do not go together
        raise ValueError(str(error)) from error


def write(expression: Expression) -> str:
    """The text of `expression`, with no more parentheses than it needs."""
    if isinstance(expression, AllOf):
        return " and ".join(_within(part, AnyOf) for part in expression.parts)
    if isinstance(expression, AnyOf):
        return " or ".join(map(write, expression.parts))
    if isinstance(expression, Not):
        return f"not {_within(expression.part, AllOf, AnyOf)}"
    return _condition(expression)


def _within(part: Expression, *looser: type[Expression]) -> str:
    return f"({write(part)})" if isinstance(part, looser) else write(part)


def _condition(expression: Expression) -> str:
    if isinstance(expression, Comparison):
        name = _name(expression.column)
        if expression.operator == "==" and expression.value is True:
            return name
        return f"{name} {expression.operator} {_value(expression.value)}"
    if isinstance(expression, Between):
        bounds = f"{_value(expression.low)} and {_value(expression.high)}"
        return f"{_name(expression.column)} between {bounds}"
    if isinstance(expression, IsIn):
        return f"{_name(expression.column)} in {_values(expression.values)}"
    if isinstance(expression, ContainsAny):
        single = len(expression.values) == 1
        wanted = _value(expression.values[0]) if single else f"any {_values(expression.values)}"
        return f"{_name(expression.column)} contains {wanted}"
    assert isinstance(expression, IsMissing)
    return f"{_name(expression.column)} is missing"


def _name(name: str) -> str:
    if _PLAIN_NAME.fullmatch(name) and name not in _KEYWORDS:
        return name
    return f"`{name.replace('`', '``')}`"


def _value(value: Value) -> str:
    return json.dumps(value, ensure_ascii=False)


def _values(values: tuple[Value, ...]) -> str:
    return f"({', '.join(map(_value, values))})"


class _Parser:
    """Descends by the grammar, one token ahead."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._end = 0
        self._token = self._read()

    def parse(self) -> Expression:
        expression = self._expression(0)
        if self._token.kind != "end":
            raise self._mistake("'and', 'or' or the end", "and", "or")
        return expression

    def _expression(self, depth: int) -> Expression:
        return self._joined("or", AnyOf, self._both, depth)

    def _both(self, depth: int) -> Expression:
        return self._joined("and", AllOf, self._negation, depth)

    def _joined(
        self,
        word: str,
        join: type[AllOf] | type[AnyOf],
        part: Callable[[int], Expression],
        depth: int,
    ) -> Expression:
        parts = [part(depth)]
        while self._take_word(word):
            parts.append(part(depth))
        return parts[0] if len(parts) == 1 else join(tuple(parts))

    def _negation(self, depth: int) -> Expression:
        if depth > MAX_DEPTH:
            raise self._mistake(f"at most {MAX_DEPTH} parentheses and negations within others")
        if self._take_word("not"):
            return Not(self._negation(depth + 1))
        if self._token.is_symbol("("):
            self._advance()
            inner = self._expression(depth + 1)
            self._need_symbol(")")
            return inner
        return self._condition()

    def _condition(self) -> Expression:
        column = self._column()
        for take in (self._comparison, self._between, self._in, self._contains, self._is_missing):
            condition = take(column)
            if condition is not None:
                return condition
        alone = self._token.kind == "end" or self._token.is_word("and", "or")
        if alone or self._token.is_symbol(")"):
            return Comparison(column, "==", True)
        raise self._mistake("a comparison, 'and', 'or' or the end", *_KEYWORDS)

    def _comparison(self, column: str) -> Expression | None:
        if not self._token.is_symbol("=", *OPERATORS):
            return None
        symbol = self._advance().text
        return Comparison(column, cast(Operator, "==" if symbol == "=" else symbol), self._value())

    def _between(self, column: str) -> Expression | None:
        if not self._take_word("between"):
            return None
        low = self._value()
        self._need_word("and")
        return Between(column, low, self._value())

    def _in(self, column: str) -> Expression | None:
        negated = self._take_word("not")
        if negated:
            self._need_word("in")
        elif not self._take_word("in"):
            return None
        chosen = IsIn(column, self._values())
        return Not(chosen) if negated else chosen

    def _contains(self, column: str) -> Expression | None:
        if not self._take_word("contains"):
            return None
        many = self._take_word("any")
        return ContainsAny(column, self._values() if many else (self._value(),))

    def _is_missing(self, column: str) -> Expression | None:
        if not self._take_word("is"):
            return None
        negated = self._take_word("not")
        self._need_word("missing")
        return Not(IsMissing(column)) if negated else IsMissing(column)

    def _column(self) -> str:
        if self._token.kind == "quoted":
            return self._advance().text.replace("``", "`")
        if self._token.kind == "word" and self._token.text not in _KEYWORDS:
            return self._advance().text
        raise self._mistake("a column, 'not' or '('")

    def _values(self) -> tuple[Value, ...]:
        self._need_symbol("(")
        values: list[Value] = []
        while not self._token.is_symbol(")"):
            if values:
                self._need_symbol(",")
            values.append(self._value())
        self._advance()
        return tuple(values)

    def _value(self) -> Value:
        if self._token.is_word("true", "false"):
            return self._advance().text == "true"
        if self._token.kind not in ("number", "string"):
            raise self._mistake("a number, a quoted text, true or false", "true", "false")
        try:
            value = _literal(self._token)
        except ValueError as error:  # an unknown escape, or digits past what Python reads
            raise self._mistake("a value that can be read") from error
        self._advance()
        return value

    def _take_word(self, word: str) -> bool:
        found = self._token.is_word(word)
        if found:
            self._advance()
        return found

    def _need_word(self, word: str) -> None:
        if not self._take_word(word):
            raise self._mistake(f"'{word}'", word)

    def _need_symbol(self, symbol: str) -> None:
        if not self._token.is_symbol(symbol):
            raise self._mistake(f"'{symbol}'")
        self._advance()

    def _advance(self) -> _Token:
        token = self._token
        self._token = self._read()
        return token

    def _read(self) -> _Token:
        found = _TOKEN.match(self._text, self._end)
        if found is not None:
            self._end = found.end()
            kind = cast(Kind, found.lastgroup)
            return _Token(kind, found[kind], found.start(kind))
        start = len(self._text) - len(self._text[self._end :].lstrip())
        self._token = _Token("end", self._text[start : start + 20], start)
        if start < len(self._text):
            raise self._mistake("a column, a value or an operator")
        return self._token

    def _mistake(self, expected: str, *suggestions: str) -> ValueError:
        near = difflib.get_close_matches(self._token.text, suggestions, n=1)
        remedy = f"did you mean '{near[0]}'?" if near else None
        got = f"'{self._token.text}'" if self._token.text else "the end"
        place = f"{expected} at position {self._token.position}"
        return invalid("Expression.parse", "text", place, got, remedy)


def _literal(token: _Token) -> int | float | str:
    if token.kind == "string":
        return _text(token.text)
    return float(token.text) if re.search(r"[.eE]", token.text) else int(token.text)


def _text(quoted: str) -> str:
    body = quoted[1:-1]
    if quoted[0] == "'":
        body = _QUOTE.sub(lambda found: _REQUOTED.get(found[0], found[0]), body)
    value: str = json.loads(f'"{body}"', strict=False)
    return value
