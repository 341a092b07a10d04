"""Our own form: one folder with `items`, `interactions` and optionally `users` and `queries`.

Each table is one file, JSONL (UTF-8) or parquet, with the columns of `records`; docs/data_format.md
is the page for users. `scan_folder` meets every broken row with a `Problem` and reads on;
`read_folder` raises the first one.
"""

from __future__ import annotations

import codecs
import dataclasses
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from onesearch_fast.data.readers import Problem, Reader, ReadOptions, Report, Tables
from onesearch_fast.data.records import (
    EVENTS,
    Dataset,
    Interaction,
    Item,
    JudgedQuery,
    User,
    item_text,
)
from onesearch_fast.errors import DataError, invalid
from onesearch_fast.files import atomic_folder

TABLES = ("items", "users", "interactions", "queries")
REQUIRED = ("items", "interactions")
SUFFIXES = (".jsonl", ".parquet")
MAX_TIME = 253_402_300_799  # the end of the year 9999 in seconds; anything later is milliseconds
MAX_NUMBER = 1e300

Record = TypeVar("Record", Item, User, Interaction, JudgedQuery)


def read_folder(path: str | os.PathLike[str], *, allow_untitled: bool = False) -> Dataset:
    """Reads a folder of our form; raises DataError with file and line at the first broken row."""
    tables = scan_folder(path, raise_problem, allow_untitled=allow_untitled)
    return Dataset(
        name=Path(path).resolve().name,
        items=tables.items,
        users=tables.users,
        interactions=tables.interactions,
        judged_queries=tables.judged_queries,
    )


def scan_folder(
    path: str | os.PathLike[str], report: Report, *, allow_untitled: bool = False
) -> Tables:
    """Reads every table, tells `report` of each broken row, and leaves that row out.

    `report` may raise to stop at once.
    """
    scan = _Scan(Path(path), report, allow_untitled)
    items = tuple(scan.table("items", scan.item))
    if not items:
        report(Problem("items", "rows", "at least one sound item", "none", "add items"))
    return Tables(
        items=items,
        users=tuple(scan.table("users", scan.user)),
        interactions=tuple(scan.table("interactions", scan.interaction)),
        judged_queries=tuple(scan.table("queries", scan.judged_query)),
        unread_columns={name: tuple(sorted(columns)) for name, columns in scan.unread.items()},
    )


def write_folder(dataset: Dataset, path: str | os.PathLike[str]) -> None:
    """Writes a data set as JSONL, atomically; `read_folder` gives the same records back.

    Raises:
        ValueError: `path` holds something else than tables of this form, which would be lost.
    """
    target = Path(path)
    tables = {
        "items": dataset.items,
        "users": dataset.users,
        "interactions": dataset.interactions,
        "queries": dataset.judged_queries,
    }
    ours = {f"{name}{suffix}" for name in TABLES for suffix in SUFFIXES}
    if target.exists():
        others = sorted(entry.name for entry in target.iterdir() if entry.name not in ours)
        if others:
            expected = "a new folder, or one that holds only tables of this form"
            raise invalid("write_folder", "path", expected, f"{target} with {others}")
    with atomic_folder(target) as folder:
        for name, records in tables.items():
            if records or name in REQUIRED:
                _write_jsonl(folder / f"{name}.jsonl", records)


class _BrokenRowError(Exception):
    """Leaves the parsing of a row whose problem has been reported."""


@dataclass(slots=True)
class _Row:
    """Typed access to one row's fields; a wrong one is reported and ends the row."""

    where: str
    values: Mapping[str, Any]
    report: Report

    def fail(
        self, field: str, expected: str, got: object, remedy: str | None = None
    ) -> _BrokenRowError:
        shown = got if isinstance(got, str) and not got.isspace() and got else repr(got)
        self.report(Problem(self.where, field, expected, shown, remedy))
        return _BrokenRowError()

    def required(self, field: str) -> Any:
        value = self.values.get(field)
        if value is None:
            raise self.fail(field, "a value", "none", f"add {field} to every row")
        return value

    def identifier(self, field: str) -> str:
        return self._identifier(field, self.required(field))

    def optional_identifier(self, field: str) -> str | None:
        value = self.values.get(field)
        return None if value is None else self._identifier(field, value)

    def text(self, field: str, value: Any) -> str:
        if not isinstance(value, str):
            raise self.fail(field, "a string", repr(value))
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError as error:
                raise self.fail(
                    field, "text", repr(value[error.start]), "a lone surrogate is not a character"
                ) from None
        return value

    def optional_text(self, field: str) -> str | None:
        value = self.values.get(field)
        return None if value is None else self.text(field, value)

    def asked(self, field: str) -> str | None:
        """A query: absent, or a text that says something."""
        query = self.optional_text(field)
        if query is not None and not query.strip():
            raise self.fail(field, "a non-empty query", query, "leave the field out instead")
        return query

    def texts(self, field: str, value: Any) -> tuple[str, ...]:
        if not isinstance(value, (list, tuple)):
            raise self.fail(field, "a list of strings", repr(value), 'write ["..."]')
        return tuple(self.text(field, one) for one in value)

    def attributes(self, field: str) -> dict[str, tuple[str, ...]]:
        value = self.values.get(field)
        if value is None:
            return {}
        # A parquet map arrives as pairs.
        pairs = list(value.items()) if isinstance(value, Mapping) else value
        if not isinstance(pairs, list) or not all(_is_pair(pair) for pair in pairs):
            raise self.fail(field, "an object from type to list of strings", repr(value))
        return {
            self.text(field, kind): self.texts(f"{field}.{kind}", values)
            for kind, values in pairs
            if values is not None  # a parquet struct has every key in every row
        }

    def number(self, field: str, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self.fail(field, "a number", repr(value))
        if not -MAX_NUMBER <= value <= MAX_NUMBER:  # NaN, infinities, integers beyond a float
            raise self.fail(field, "a finite number", repr(value), "leave it out when unknown")
        return float(value)

    def price(self, field: str) -> float | None:
        value = self.values.get(field)
        if value is None:
            return None
        price = self.number(field, value)
        if price < 0:
            raise self.fail(field, "a price >= 0", repr(price), "leave it out when unknown")
        return price

    def flag(self, field: str, default: bool) -> bool:
        value = self.values.get(field)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self.fail(field, "true or false", repr(value))
        return value

    def time(self, field: str) -> int:
        value = self.required(field)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.fail(field, "an integer, unix seconds", repr(value))
        if not -MAX_TIME <= value <= MAX_TIME:
            remedy = "divide milliseconds by 1000"
            raise self.fail(field, "unix seconds before the year 10000", repr(value), remedy)
        return value

    def _identifier(self, field: str, value: Any) -> str:
        if isinstance(value, bool) or not isinstance(value, (str, int)):
            raise self.fail(field, "a string or an integer", repr(value))
        if value == "":
            raise self.fail(field, "a non-empty id", value)
        return self.text(field, str(value))


@dataclass(slots=True)
class _Scan:
    """One pass over a folder; remembers where each id stands, to name both of a duplicate."""

    folder: Path
    report: Report
    allow_untitled: bool
    places: dict[str, dict[str, str]] = field(default_factory=lambda: {"items": {}, "users": {}})
    unread: dict[str, set[str]] = field(default_factory=dict)

    def table(self, name: str, parse: Callable[[_Row], Record]) -> Iterator[Record]:
        path = self._find(name)
        if path is None:
            return
        known = {column.name for column in dataclasses.fields(_RECORDS[name])}
        rows = jsonl_rows if path.suffix == ".jsonl" else _parquet_rows
        for where, values in rows(path, self.report):
            if not values.keys() <= known:
                self.unread.setdefault(name, set()).update(values.keys() - known)
            try:
                yield parse(_Row(where, values, self.report))
            except _BrokenRowError:
                continue

    def item(self, row: _Row) -> Item:
        # Claimed first: a log row that names a broken item is not one more problem.
        item_id = self._claim("items", row.identifier("item_id"), "item_id", row)
        item = Item(
            item_id=item_id,
            title=row.text("title", row.required("title")),
            brand=row.optional_text("brand"),
            category=_or_empty(row, "category"),
            attributes=row.attributes("attributes"),
            price=row.price("price"),
            in_stock=row.flag("in_stock", True),
        )
        if not self.allow_untitled and not item_text(item).strip():
            remedy = "give it a title, brand, category or attribute, or allow untitled items"
            raise row.fail("title", "some text in an item", "none", remedy)
        return item

    def user(self, row: _Row) -> User:
        user_id = self._claim("users", row.identifier("user_id"), "user_id", row)
        return User(user_id, row.optional_text("profile"))

    def interaction(self, row: _Row) -> Interaction:
        event = row.text("event", row.required("event"))
        if event not in EVENTS:
            raise row.fail("event", f"one of {', '.join(EVENTS)}", event)
        return Interaction(
            user_id=row.identifier("user_id"),
            time=row.time("time"),
            item_id=self._known_item(row),
            event=event,
            query=row.asked("query"),
            session_id=row.optional_identifier("session_id"),
            query_kind=row.optional_text("query_kind"),
        )

    def judged_query(self, row: _Row) -> JudgedQuery:
        row.required("query")
        return JudgedQuery(
            query=row.asked("query") or "",
            item_id=self._known_item(row),
            grade=row.number("grade", row.required("grade")),
        )

    def _known_item(self, row: _Row) -> str:
        item_id = row.identifier("item_id")
        if item_id not in self.places["items"]:
            remedy = "add the item or drop the row"
            raise row.fail("item_id", "an item of the items table", item_id, remedy)
        return item_id

    def _claim(self, table: str, identifier: str, column: str, row: _Row) -> str:
        first = self.places[table].setdefault(identifier, row.where)
        if first != row.where:
            got = f"{identifier}, which stands at {first} already"
            raise row.fail(column, "an id of its own", got, "keep one row per id")
        return identifier

    def _find(self, name: str) -> Path | None:
        found = [path for suffix in SUFFIXES if (path := self.folder / f"{name}{suffix}").is_file()]
        if len(found) > 1:
            got = " and ".join(path.name for path in found)
            self.report(Problem(name, "file", "one file per table", got, "remove one of them"))
        if not found and name in REQUIRED:
            got = f"neither in {self.folder}"
            self.report(Problem(name, "file", f"{name}.jsonl or {name}.parquet", got))
        return found[0] if found else None


_RECORDS: Mapping[str, type] = {
    "items": Item,
    "users": User,
    "interactions": Interaction,
    "queries": JudgedQuery,
}


def raise_problem(problem: Problem) -> None:
    """The `Report` that stops at the first problem."""
    raise DataError(str(problem))


def _is_pair(value: object) -> bool:
    return isinstance(value, tuple) and len(value) == 2


def _or_empty(row: _Row, field: str) -> tuple[str, ...]:
    value = row.values.get(field)
    return () if value is None else row.texts(field, value)


def jsonl_rows(path: Path, report: Report) -> Iterator[tuple[str, dict[str, Any]]]:
    """("FILE:LINE", object) of every line that is a JSON object; `report` hears of the others."""
    begin = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            where = f"{path.name}:{number}"
            # Some editors mark UTF-8 by these bytes, which are no part of the first row.
            text = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
            if text.strip():
                value = _json_line(text, where, begin + len(line) - len(text), report)
                if value is not None:
                    yield where, value
            begin += len(line)


def _json_line(line: bytes, where: str, begin: int, report: Report) -> dict[str, Any] | None:
    try:
        value = json.loads(line.decode())
    except UnicodeDecodeError as error:
        at = f"byte {line[error.start : error.start + 1].hex()} at offset {begin + error.start}"
        report(Problem(where, "line", "UTF-8", at, "save the file as UTF-8"))
        return None
    except (ValueError, RecursionError) as error:
        report(Problem(where, "line", "one JSON object", str(error), "write one object per line"))
        return None
    if not isinstance(value, dict):
        report(Problem(where, "line", "a JSON object", repr(value), "write one object per line"))
        return None
    return value


def _parquet_rows(path: Path, report: Report) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        with pq.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches():
                for value in batch.to_pylist():
                    number += 1
                    yield f"{path.name}:{number}", value
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        report(Problem(path.name, "file", "a sound parquet file", str(error), "write it again"))


def _write_jsonl(path: Path, records: Sequence[Any]) -> None:
    with path.open("w", encoding="utf-8") as file:
        for record in records:
            values = {
                column.name: value
                for column in dataclasses.fields(record)
                if (value := getattr(record, column.name)) is not None
            }
            file.write(json.dumps(values, ensure_ascii=False, allow_nan=False) + "\n")


def _detect(folder: Path) -> bool:
    return any((folder / f"items{suffix}").is_file() for suffix in SUFFIXES)


def _read(folder: Path, options: ReadOptions) -> Dataset:
    return read_folder(folder, allow_untitled=options.allow_untitled)


def _scan_reader(folder: Path, options: ReadOptions, report: Report) -> Tables:
    return scan_folder(folder, report, allow_untitled=options.allow_untitled)


READER = Reader(
    "native", "items and interactions, .jsonl or .parquet", _detect, _read, scan=_scan_reader
)
