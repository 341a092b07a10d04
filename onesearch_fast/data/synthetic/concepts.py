"""The bilingual lexicon of the synthetic shop: concepts, and the words that sellers and buyers use.

All of it is data beside this module (`resources/*.json`) and our own invention. The forms of a
concept run from a seller's wording to a buyer's: titles and queries differ in their words.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

LANGUAGES = ("en", "zh")

Forms = Mapping[str, tuple[str, ...]]  # language -> surface forms


@dataclass(frozen=True, slots=True)
class Value:
    """One value of an attribute type; `place` says on which side of an English noun it stands."""

    kind: str
    name: str
    place: str
    forms: Forms


@dataclass(frozen=True, slots=True)
class Question:
    """A need in words that names no product: which categories and values would answer it."""

    forms: Forms
    categories: tuple[int, ...]
    values: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Category:
    """A leaf category. `values` lists, per attribute type, the values its items can have."""

    path: tuple[str, str]
    department: int
    median_price: float
    weight: float
    forms: Forms
    values: Mapping[str, tuple[int, ...]]
    companions: tuple[int, ...]
    questions: tuple[Question, ...]


@dataclass(frozen=True, slots=True)
class Lexicon:
    """Everything by number: values, categories, brands and series words are indices elsewhere."""

    values: tuple[Value, ...]
    categories: tuple[Category, ...]
    num_departments: int
    brands: tuple[Forms, ...]
    series: tuple[Forms, ...]
    marketing: Forms
    queries: Mapping[str, Mapping[str, tuple[str, ...]]]
    profile: Mapping[str, Any]


@cache
def load_lexicon() -> Lexicon:
    """Reads the JSON resources of this package."""
    words, raw_categories = _read("words"), _read("categories")
    value_ids: dict[tuple[str, str], int] = {}
    values: list[Value] = []
    for kind, entry in _read("attributes").items():
        for name, forms in entry["values"].items():
            value_ids[kind, name] = len(values)
            values.append(Value(kind, name, entry["place"], _forms(forms)))
    category_ids = {raw["id"]: number for number, raw in enumerate(raw_categories)}
    departments = {name: number for number, name in enumerate(words["departments"])}
    return Lexicon(
        values=tuple(values),
        categories=tuple(
            Category(
                path=(words["departments"][raw["department"]], raw["name"]),
                department=departments[raw["department"]],
                median_price=float(raw["price"]),
                weight=float(raw["weight"]),
                forms=_forms(raw),
                values={
                    kind: tuple(value_ids[kind, name] for name in names)
                    for kind, names in raw["values"].items()
                },
                companions=tuple(category_ids[name] for name in raw["with"]),
                questions=tuple(_questions(raw, category_ids, value_ids)),
            )
            for raw in raw_categories
        ),
        num_departments=len(departments),
        brands=tuple(_pair(pair) for pair in words["brands"]),
        series=tuple(_pair(pair) for pair in words["series"]),
        marketing=_forms(words["marketing"]),
        queries={
            language: {kind: tuple(forms) for kind, forms in templates.items()}
            for language, templates in words["queries"].items()
        },
        profile=words["profile"],
    )


def _read(name: str) -> Any:
    resource = files(__package__) / "resources" / f"{name}.json"
    return json.loads(resource.read_text(encoding="utf-8"))


def _questions(
    raw: Mapping[str, Any],
    category_ids: Mapping[str, int],
    value_ids: Mapping[tuple[str, str], int],
) -> Iterator[Question]:
    for question in raw["questions"]:
        yield Question(
            forms=_forms(question),
            categories=tuple(category_ids[name] for name in [raw["id"], *question["also"]]),
            values=tuple(value_ids[pair] for pair in question["values"].items()),
        )


def _forms(entry: Mapping[str, Any]) -> Forms:
    return {language: tuple(entry[language]) for language in LANGUAGES}


def _pair(pair: list[str]) -> Forms:
    return {language: (name,) for language, name in zip(LANGUAGES, pair, strict=True)}
