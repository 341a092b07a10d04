"""The record types of a catalogue and its behaviour log; a `Dataset` checks them as a whole."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from onesearch_fast.errors import DataError, invalid

EVENTS = ("show", "click", "order")
POSITIVE_EVENTS = ("click", "order")
CATEGORY_SEPARATOR = " > "


@dataclass(frozen=True, slots=True)
class Item:
    """One product. `category` runs from coarse to fine; `attributes` maps a type to its values."""

    item_id: str
    title: str
    brand: str | None = None
    category: tuple[str, ...] = ()
    attributes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    price: float | None = None
    in_stock: bool = True


@dataclass(frozen=True, slots=True)
class User:
    """One user. `profile` is free text shown to the model, such as an age band."""

    user_id: str
    profile: str | None = None


@dataclass(frozen=True, slots=True)
class Interaction:
    """One row of the log; `time` in unix seconds. `query_kind` labels evaluation slices only."""

    user_id: str
    time: int
    item_id: str
    event: str
    query: str | None = None
    session_id: str | None = None
    query_kind: str | None = None


@dataclass(frozen=True, slots=True)
class JudgedQuery:
    """A relevance judgement of an item for a query; a higher grade is more relevant."""

    query: str
    item_id: str
    grade: float


@dataclass(frozen=True, slots=True)
class Dataset:
    """A catalogue with its users and log. Interactions may stand in any order of time.

    Raises DataError when the catalogue is empty, an id is duplicated, the log or a judgement names
    an item that is not there, an event is not one of `EVENTS`, or a price or grade is not finite.
    """

    name: str
    items: tuple[Item, ...]
    users: tuple[User, ...] = ()
    interactions: tuple[Interaction, ...] = ()
    judged_queries: tuple[JudgedQuery, ...] = ()

    def __post_init__(self) -> None:
        if not self.items:
            raise _refuse("items", "at least one item", "none", "add items to the catalogue")
        known = _unique([item.item_id for item in self.items], "items", "item_id")
        _unique([user.user_id for user in self.users], "users", "user_id")
        for item in self.items:
            _check_item(item)
        for interaction in self.interactions:
            _check_interaction(interaction, known)
        for judged in self.judged_queries:
            _check_known(judged.item_id, known, "judged_queries")
            if not math.isfinite(judged.grade):
                raise _refuse("judged_queries", "a finite grade", judged)


def item_text(item: Item) -> str:
    """What an encoder sees of an item: title, brand, category path, attribute values, spaced."""
    values = (value for kind in sorted(item.attributes) for value in item.attributes[kind])
    return " ".join(part for part in (item.title, item.brand, *item.category, *values) if part)


def category_text(path: Sequence[str]) -> str:
    """A category path as text, "A > B > C": the query of data that has no real ones."""
    return CATEGORY_SEPARATOR.join(path)


def _refuse(argument: str, expected: str, got: object, remedy: str | None = None) -> DataError:
    return invalid("Dataset", argument, expected, got, remedy, kind=DataError)


def _unique(ids: list[str], argument: str, key: str) -> set[str]:
    seen: set[str] = set()
    for one in ids:
        if one in seen:
            raise _refuse(argument, f"distinct {key}", one, "keep one row per id")
        seen.add(one)
    return seen


def _check_item(item: Item) -> None:
    if not item.item_id:
        raise _refuse("items", "a non-empty item_id", item)
    if item.price is not None and not (math.isfinite(item.price) and item.price >= 0):
        raise _refuse("items", "a finite price >= 0 or None", f"{item.price} of {item.item_id!r}")


def _check_interaction(interaction: Interaction, known: set[str]) -> None:
    if interaction.event not in EVENTS:
        raise _refuse("interactions", f"an event of {EVENTS}", interaction.event)
    if not isinstance(interaction.time, int):
        raise _refuse("interactions", "time in whole unix seconds", interaction.time)
    _check_known(interaction.item_id, known, "interactions")


def _check_known(item_id: str, known: set[str], argument: str) -> None:
    if item_id not in known:
        raise _refuse(
            argument, "item_id of the catalogue", item_id, "add the item or drop the rows naming it"
        )
