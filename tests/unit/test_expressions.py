"""Expressions: their written forms, and what they let through, item by item."""

from __future__ import annotations

import json
import operator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onesearch_fast import _C
from onesearch_fast.index import Expression, ItemColumns, SidTrie, col
from onesearch_fast.index.expressions import (
    MAX_DEPTH,
    AllOf,
    AnyOf,
    Between,
    Comparison,
    ContainsAny,
    IsIn,
    IsMissing,
    Not,
    is_unicode,
)

NUM_ITEMS = 150
BRANDS = ["acme", "Zeta", "", "été", "a b", 'quo"te']
# What columns hold, nearly hold, and cannot hold.
NUMBERS = [
    0,
    -1,
    2.5,
    0.1,
    0.30000001192092896,
    -0.0,
    255,
    256,
    2**53 + 1,
    -(2**63),
    2**63,
    10**400,
]

numbers = st.sampled_from(NUMBERS) | st.integers(-300, 300) | st.floats(-300, 300)
texts = st.sampled_from([*BRANDS, "none of them"])
names = st.sampled_from(["price", "in_stock", "not", "a.b"]) | st.text(min_size=1).filter(
    is_unicode
)
operators = st.sampled_from(["==", "!=", "<", "<=", ">", ">="])


def joined(parts: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
    many = st.lists(parts, min_size=2, max_size=4).map(tuple)
    return many.map(AllOf) | many.map(AnyOf) | parts.map(Not)


any_expression = st.recursive(
    st.builds(Comparison, names, operators, numbers | texts | st.booleans())
    | st.builds(Between, names, numbers, numbers)
    | st.builds(IsIn, names, st.lists(numbers).map(tuple) | st.lists(texts).map(tuple))
    | st.builds(ContainsAny, names, st.lists(texts).map(tuple))
    | st.builds(IsMissing, names),
    joined,
)


@given(any_expression)
def test_every_written_form_reads_back(expression: Expression) -> None:
    assert Expression.parse(str(expression)) == expression
    assert Expression.from_json(expression.to_json()) == expression
    assert eval(repr(expression)) == expression
    assert hash(Expression.parse(str(expression))) == hash(expression)


@pytest.mark.parametrize(
    ("text", "expression"),
    [
        (
            "price between 10 and 50 and category in ('shoes', \"boots\") and not in_stock",
            col("price").between(10, 50)
            & col("category").isin(["shoes", "boots"])
            & ~col("in_stock"),
        ),
        ("a or b and c", col("a") | (col("b") & col("c"))),
        ("(a or b) and c", (col("a") | col("b")) & col("c")),
        ("not a and b", ~col("a") & col("b")),
        ("not (a and b)", ~(col("a") & col("b"))),
        ("x = -2.5e3", col("x") == -2500.0),
        ("x not in (1, 2)", ~col("x").isin([1, 2])),
        ("x in ()", col("x").isin([])),
        ("x is not missing", ~col("x").is_missing()),
        ("tags contains any ('x', 'y')", col("tags").contains_any(["y", "x"])),
        ("tags contains 'x'", col("tags").contains("x")),
        ("`and` == 'it\\'s \"so\"\\n'", col("and") == 'it\'s "so"\n'),
        ("größe.eu>=42", col("größe.eu") >= 42),
        ("in_stock = true", col("in_stock") == True),  # noqa: E712
        ("in_stock", col("in_stock") == True),  # noqa: E712
    ],
)
def test_grammar(text: str, expression: Expression) -> None:
    assert Expression.parse(text) == expression


def test_joins_of_one_kind_are_one() -> None:
    a, b, c = col("a") > 1, col("b") > 2, col("c") > 3
    assert (a & b) & c == a & (b & c) == AllOf((a, b, c))
    assert ((a | b) & c).depth == 3
    assert (a & b & c).columns == {"a", "b", "c"}
    assert col("a").isin([2, 1, 2]) == col("a").isin((1, 2))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("price betwen 10", "at position 6, got 'betwen'; did you mean 'between'?"),
        ("price between 10 or 5", "expected 'and' at position 17, got 'or'"),
        ("a and", "expected a column, 'not' or '(' at position 5, got the end"),
        ("a in (1 2)", "expected ',' at position 8, got '2'"),
        ("x = 'abc", "at position 4, got ''abc'"),
        ("x = 5a", "at position 4, got '5a'"),
        ("a @ b", "at position 2, got '@ b'"),
        ("(a", "expected ')' at position 2, got the end"),
        ("x in ('a', 1)", "values of one type, got number and str"),
        ("x = '\\q'", "a value that can be read at position 4"),
        ("x = " + "9" * 5000, "a value that can be read at position 4"),
        ("x = 1e999", "expected a finite number, got inf"),
        ("x = '\\ud800'", "expected valid Unicode"),
        ("(" * 100, "at most 32 parentheses and negations"),
        ("not " * 100 + "a", "at most 32 parentheses and negations"),
        ("", "at position 0, got the end"),
    ],
)
def test_mistakes_in_a_text_have_a_position(text: str, message: str) -> None:
    with pytest.raises(ValueError, match="Expression") as error:
        Expression.parse(text)
    assert message in str(error.value)


@settings(max_examples=300)
@given(st.text(alphabet="ab'\"`()<>=!,.5 andorti\\") | st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        expression = Expression.parse(text)
    except ValueError:
        return
    assert Expression.parse(str(expression)) == expression


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda parts: (
        st.lists(parts)
        | st.dictionaries(st.sampled_from(["all", "any", "not", "column", "op", "value"]), parts)
    ),
)


@settings(max_examples=300)
@given(json_values)
def test_any_json_is_read_or_refused(document: Any) -> None:
    try:
        expression = Expression.from_json(json.dumps(document))
    except ValueError:
        return
    assert Expression.from_json(expression.to_json()) == expression


@settings(max_examples=300)
@given(any_expression, st.data())
def test_mutated_json_is_read_or_refused(expression: Expression, data: st.DataObject) -> None:
    text = expression.to_json()
    at = data.draw(st.integers(0, len(text)))
    mutated = (
        text[:at] + data.draw(st.sampled_from(["", "{", "]", '"', "5", "null"])) + text[at + 1 :]
    )
    try:
        Expression.from_json(mutated)
    except ValueError as error:
        assert "Expression" in str(error)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("[]", "$: expected an object, got []"),
        ("{", "$: expected JSON"),
        (b"\xff", "$: expected JSON"),
        ('{"column": "a", "op": "<", "value": NaN}', "NaN is not a number"),
        ('{"column": "a", "op": "<"}', "expected the fields column, op, value, got column, op"),
        ('{"column": "a", "op": "=", "value": 1}', "$.op: expected one of == != <"),
        ('{"column": "a", "op": "in", "values": 3}', "$.values: expected a list, got 3"),
        ('{"all": [{"not": {"column": 5, "op": "missing"}}, 1]}', "expected a name"),
        ('{"all": [{"column": "a", "op": "missing"}, 1]}', "$.all[1]: expected an object, got 1"),
        ('{"any": [{"column": "a", "op": "missing"}]}', "$.any: expected a list of two objects"),
        ('{"not": ' * 5000, "$: expected at most 32 levels"),
        ('{"not": ' * 40 + "1" + "}" * 40, "expected at most 32 levels"),
    ],
)
def test_mistakes_in_json_have_a_place(document: str | bytes, message: str) -> None:
    with pytest.raises(ValueError, match="Expression") as error:
        Expression.from_json(document)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (lambda: col("a") < float("nan"), ValueError, "finite number, got nan"),
        (lambda: col("a").between(0, float("inf")), ValueError, "high: expected a finite number"),
        (lambda: col("a") == None, TypeError, "use .is_missing()"),  # noqa: E711
        (lambda: col("a").isin("abc"), TypeError, "put it in a list"),
        (lambda: col("a").isin([1, "b"]), TypeError, "values of one type, got number and str"),
        (lambda: col("a").isin([1, True]), TypeError, "values of one type, got bool and number"),
        (lambda: col(""), ValueError, "a name of one character or more"),
        (lambda: col(5), TypeError, "expected a name"),
        (lambda: 1 < col("a") < 5, TypeError, "low < x < high is .between"),
        (lambda: (col("a") < 1) and col("b"), TypeError, "join conditions by & | ~"),
        (lambda: (col("a") < 1) & True, TypeError, "parenthesise comparisons"),
        (lambda: Expression.parse(5), TypeError, "expected a string"),
        (lambda: hash(col("a")), TypeError, "unhashable"),
    ],
)
def test_bad_conditions_are_refused(make: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind) as error:
        make()
    assert message in str(error.value)


def test_depth_is_bounded_and_width_is_not() -> None:
    deep: Expression = col("sales") > 0
    while deep.depth < MAX_DEPTH:
        deep = ~deep
    with pytest.raises(ValueError, match="at most 32 joins within joins"):
        _ = ~deep
    wide = AnyOf(tuple(col("sales") == i for i in range(1000)))
    assert wide.depth == 2
    assert Expression.parse(str(wide)) == wide


def test_scalars_of_numpy_and_torch_are_values() -> None:
    torch = pytest.importorskip("torch")
    assert (col("a") < np.float32(0.5)) == (col("a") < 0.5)
    assert (col("a") == np.str_("x")) == (col("a") == "x")
    assert col("a").isin(np.arange(3)) == col("a").isin([0, 1, 2])
    assert (col("a") == torch.tensor(3)) == (col("a") == 3)


def random_items(seed: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)

    def maybe(value: Any) -> Any:
        return None if rng.random() < 0.2 else value

    exact = [
        0.0,
        -0.0,
        0.1,
        2.5,
        -300.5,
        float(np.float32(0.1)),
        float("inf"),
        float("-inf"),
        1e300,
    ]
    return [
        {
            "price": maybe(exact[i % 9] if i % 2 else float(np.float32(rng.uniform(-300, 300)))),
            "sales": maybe(
                [0, 1, 255, 256, -1, 2**53 + 1, -(2**63)][i % 7]
                if i % 2
                else int(rng.integers(-300, 300))
            ),
            "stars": maybe(float(rng.integers(0, 5)) / 2),
            "in_stock": maybe(bool(rng.random() < 0.5)),
            "brand": maybe(BRANDS[rng.integers(len(BRANDS))]),
            "path": maybe([BRANDS[j] for j in rng.integers(0, len(BRANDS), rng.integers(0, 4))]),
        }
        for i in range(NUM_ITEMS)
    ]


ITEMS = random_items(0)


@pytest.fixture(scope="module")
def trie() -> SidTrie:
    # One item a SID, and SIDs in row order, so that positions are rows.
    return SidTrie.build(
        np.stack([np.arange(NUM_ITEMS) // 20, np.arange(NUM_ITEMS) % 20], 1), (20, 20)
    )


@pytest.fixture(scope="module")
def columns(trie: SidTrie) -> ItemColumns:
    return ItemColumns.build(trie, {name: [item[name] for item in ITEMS] for name in ITEMS[0]})


OPERATORS = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def holds(expression: Expression, item: dict[str, Any]) -> bool:
    """What an expression says of an item, by Python's own comparisons, which are exact."""
    if isinstance(expression, AllOf):
        return all(holds(part, item) for part in expression.parts)
    if isinstance(expression, AnyOf):
        return any(holds(part, item) for part in expression.parts)
    if isinstance(expression, Not):
        return not holds(expression.part, item)
    value = item[expression.column]
    if isinstance(expression, IsMissing):
        return value is None
    if value is None:
        return False
    if isinstance(expression, Comparison):
        return OPERATORS[expression.operator](value, expression.value)
    if isinstance(expression, Between):
        return expression.low <= value <= expression.high
    if isinstance(expression, ContainsAny):
        return any(one in expression.values for one in value)
    return value in expression.values


numeric = st.sampled_from(["price", "sales", "stars"])
fitting_expression = st.recursive(
    st.builds(Comparison, numeric, operators, numbers)
    | st.builds(Between, numeric, numbers, numbers)
    | st.builds(IsIn, numeric, st.lists(numbers, max_size=30).map(tuple))
    | st.builds(Comparison, st.just("brand"), st.sampled_from(["==", "!="]), texts)
    | st.builds(IsIn, st.just("brand"), st.lists(texts).map(tuple))
    | st.builds(ContainsAny, st.just("path"), st.lists(texts).map(tuple))
    | st.builds(Comparison, st.just("in_stock"), st.sampled_from(["==", "!="]), st.booleans())
    | st.builds(IsIn, st.just("in_stock"), st.lists(st.booleans()).map(tuple))
    | st.builds(IsMissing, st.sampled_from(list(ITEMS[0]))),
    joined,
)


@settings(max_examples=400)
@given(fitting_expression)
def test_filters_let_through_what_the_expression_says(
    trie: SidTrie, columns: ItemColumns, expression: Expression
) -> None:
    allowed = trie.filter(where=expression, columns=columns)
    assert allowed.item_allowed().tolist() == [holds(expression, item) for item in ITEMS]


@pytest.mark.parametrize("tier", _C.usable_isa_tiers().split())
def test_every_tier_lets_through_the_same(tier: str, trie: SidTrie, columns: ItemColumns) -> None:
    best = _C.usable_isa_tiers().split()[-1]
    expressions = [
        col("price") <= 0.1,
        col("sales").isin(range(-300, 300, 7)),
        col("stars").isin([0, 0.5, 2]),
        col("brand") != "acme",
        col("path").contains_any(["Zeta", ""]),
    ]
    try:
        _C.set_isa_tier(tier)
        for expression in expressions:
            allowed = trie.filter(where=expression, columns=columns).item_allowed()
            assert allowed.tolist() == [holds(expression, item) for item in ITEMS]
    finally:
        _C.set_isa_tier(best)


@pytest.mark.parametrize(
    ("expression", "kind", "message"),
    [
        (
            col("prise") < 5,
            ValueError,
            "price, sales, stars, in_stock, brand, path, got 'prise'; did you mean 'price'?",
        ),
        (
            col("brand") < 5,
            TypeError,
            "column 'brand' of kind category: expected ==, !=, isin or is_missing, got <",
        ),
        (col("brand") == 5, TypeError, "column 'brand' of kind category: expected a string, got 5"),
        (col("price") == "5", TypeError, "column 'price' of kind real: expected a number, got '5'"),
        (
            col("sales").between(1, "b"),
            TypeError,
            "column 'sales' of kind integer: expected a number, got 'b'",
        ),
        (col("sales") == True, TypeError, "expected a number, got True"),  # noqa: E712
        (~col("price"), TypeError, "expected a number, got True"),
        (col("in_stock") == 1, TypeError, "expected True or False, got 1"),
        (
            col("in_stock").between(0, 1),
            TypeError,
            "expected ==, !=, isin or is_missing, got between",
        ),
        (col("path") == "acme", TypeError, "expected contains, as it holds a list, got =="),
        (col("path").contains(1), TypeError, "expected a string, got 1"),
        (
            col("brand").contains("acme"),
            TypeError,
            "expected ==, or isin, as it holds one value, got contains",
        ),
        (col("unknown").is_missing(), ValueError, "got 'unknown'"),
    ],
)
def test_comparisons_that_a_column_does_not_have_are_refused(
    trie: SidTrie, columns: ItemColumns, expression: Expression, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind) as error:
        trie.filter(where=expression, columns=columns)
    assert str(error.value).startswith("SidTrie.filter: where")
    assert message in str(error.value)
