"""The snippets of docs/filters.md run, and give what the comments behind them say."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from typing import Any

import pytest

PAGE = "filters.md"


def said_behind(statement: ast.stmt, lines: list[str]) -> str:
    """The comment behind an expression; empty for other statements."""
    if not isinstance(statement, ast.Expr) or statement.end_lineno is None:
        return ""
    return lines[statement.end_lineno - 1][statement.end_col_offset :].partition("# ")[2]


def check_value(expression: ast.expr, said: str, names: dict[str, Any]) -> None:
    code = compile(ast.Expression(expression), PAGE, "eval")
    if said.startswith("ValueError: "):
        with pytest.raises(ValueError, match=re.escape(said.removeprefix("ValueError: "))):
            eval(code, names)
    else:
        assert str(eval(code, names)) == said.partition(";")[0]


def test_the_guide_says_what_happens(guide_snippets: Callable[[str], str]) -> None:
    program = guide_snippets(PAGE)
    names: dict[str, Any] = {}
    checked = 0
    for statement in ast.parse(program).body:
        said = said_behind(statement, program.splitlines())
        if isinstance(statement, ast.Expr) and said:
            check_value(statement.value, said, names)
            checked += 1
        else:
            exec(compile(ast.Module([statement], []), PAGE, "exec"), names)
    assert checked > 10
