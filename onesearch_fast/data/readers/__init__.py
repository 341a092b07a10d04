"""Readers of data folders: one module per form, found by itself.

A module of this package that binds `READER = Reader(name, files, detect, read)` is a form that
`read_dataset` knows. Nothing else has to be edited.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from onesearch_fast.data.records import Dataset, Interaction, Item, JudgedQuery, User
from onesearch_fast.errors import DataError, complaint, invalid


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """`order`: which of a form's orders of events to read, None for its default.

    `allow_untitled`: take items without any text instead of refusing them.
    """

    order: str | None = None
    allow_untitled: bool = False


@dataclass(frozen=True, slots=True)
class Problem:
    """One broken row: where ("items.jsonl:12"), which field, and the remedy."""

    where: str
    field: str
    expected: str
    got: str
    remedy: str | None = None

    def __str__(self) -> str:
        return complaint(self.where, self.field, self.expected, self.got, self.remedy)


Report = Callable[[Problem], None]


@dataclass(frozen=True, slots=True)
class Tables:
    """The sound rows of a folder, and the columns that nobody reads (table -> names)."""

    items: tuple[Item, ...]
    users: tuple[User, ...]
    interactions: tuple[Interaction, ...]
    judged_queries: tuple[JudgedQuery, ...]
    unread_columns: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Reader:
    """One form of data. `detect(folder)` is cheap and looks at names; `orders` are its choices.

    `files` tells people the names by which the form is known.
    `scan`, where a form has it, reports every broken row and gives the others, for validation.
    """

    name: str
    files: str
    detect: Callable[[Path], bool]
    read: Callable[[Path, ReadOptions], Dataset]
    orders: tuple[str, ...] = ()
    scan: Callable[[Path, ReadOptions, Report], Tables] | None = None


def discover_readers() -> list[Reader]:
    """Every `READER` of the modules of this package, by name."""
    names = [module.name for module in pkgutil.iter_modules(__path__)]
    modules = [importlib.import_module(f"{__name__}.{name}") for name in names]
    return sorted((m.READER for m in modules if hasattr(m, "READER")), key=lambda one: one.name)


def find_reader(path: str | os.PathLike[str]) -> Reader:
    """The one reader that knows the folder's form; DataError when there is none."""
    folder = Path(path)
    if not folder.is_dir():
        got = f"{folder}, which is a file" if folder.exists() else f"{folder}, which does not exist"
        remedy = "give the folder that holds the tables"
        raise invalid("find_reader", "path", "a folder", got, remedy, kind=DataError)
    readers = discover_readers()
    found = [reader for reader in readers if reader.detect(folder)]
    if len(found) == 1:
        return found[0]
    names = ", ".join(sorted(entry.name for entry in folder.iterdir())[:10]) or "nothing in it"
    forms = "; ".join(f"{reader.name}: {reader.files}" for reader in found or readers)
    raise invalid(
        "find_reader",
        "path",
        "a folder of exactly one form",
        f"{folder} with {names}",
        f"{'keep the files of one form' if found else 'name the files as a form does'} ({forms})",
        kind=DataError,
    )


def read_dataset(
    path: str | os.PathLike[str], order: str | None = None, *, allow_untitled: bool = False
) -> Dataset:
    """Reads a folder in whatever form it has.

    Args:
        path: the folder.
        order: for forms with several orders of events, which one; None for the form's default.
        allow_untitled: take items that have no text at all.

    Raises:
        DataError: no reader knows the form, or a row breaks the schema; names file and line.
        ValueError: the form has no such order.
    """
    reader = find_reader(path)
    return reader.read(Path(path), read_options(reader, order, allow_untitled))


def read_options(reader: Reader, order: str | None, allow_untitled: bool) -> ReadOptions:
    """The options, with `order` checked against what the form has."""
    if order is not None and order not in reader.orders:
        choices = f"None or one of {reader.orders}" if reader.orders else "None"
        raise invalid("read_dataset", "order", f"{choices} for {reader.name}", order)
    return ReadOptions(order, allow_untitled)
