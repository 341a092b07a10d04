"""Amazon Beauty 5-core (2014) with texts and dates: next item, and personalised product search.

The query of an interaction is the category path of its item, joined by " > " (the protocol of Van
Gysel et al. 2016 and Ai et al. 2017 for data without real queries), and every interaction is a
session of its own. Files, tab separated and gzipped, with one head line:

    items.tsv.gz                    item_id asin title brand categories ("A > B > C")
    sequences_day_shuffled.tsv.gz   user_id item_ids timestamps, order="shuffled" (the default)
    sequences.tsv.gz                the same, order="canonical"

In the canonical order the items of one day stand in ascending catalogue order, so "the next item
has a larger id" is a leak; the shuffled file breaks it.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from onesearch_fast.data.readers import Reader, ReadOptions
from onesearch_fast.data.records import (
    CATEGORY_SEPARATOR,
    Dataset,
    Interaction,
    Item,
    User,
    category_text,
    item_text,
)
from onesearch_fast.errors import DataError, invalid

ITEMS = "items.tsv.gz"
SEQUENCES = {"shuffled": "sequences_day_shuffled.tsv.gz", "canonical": "sequences.tsv.gz"}
ITEM_COLUMNS = ("item_id", "asin", "title", "brand", "categories")
SEQUENCE_COLUMNS = ("user_id", "item_ids", "timestamps")
UNKNOWN_BRAND = "Unknown"
UNKNOWN_TIME = "-"
_SECONDS = re.compile(r"-?[0-9]{1,12}")


def read_beauty2014(
    path: str | Path, order: str = "shuffled", *, allow_untitled: bool = False
) -> Dataset:
    """Reads the folder in one of its two orders; raises DataError with file and line."""
    folder = Path(path)
    sequences = _sequence_file(folder, order)
    items = tuple(_items(folder / ITEMS, allow_untitled))
    queries = {item.item_id: category_text(item.category) or None for item in items}
    users: dict[str, User] = {}
    interactions: list[Interaction] = []
    for where, (user_id, item_ids, timestamps) in _rows(sequences, SEQUENCE_COLUMNS):
        if user_id in users:
            raise _refuse(where, "user_id", "an id of its own", user_id, "keep one row per id")
        users[user_id] = User(user_id)
        row_items = item_ids.split()
        for item_id in row_items:
            if item_id not in queries:
                raise _refuse(where, "item_ids", f"items of {ITEMS}", item_id)
        times = _times(where, timestamps.split(), len(row_items))
        interactions.extend(
            Interaction(user_id, time, item_id, "click", queries[item_id], str(position))
            for position, (item_id, time) in enumerate(zip(row_items, times, strict=True))
        )
    return Dataset(f"beauty2014-{order}", items, tuple(users.values()), tuple(interactions))


def _sequence_file(folder: Path, order: str) -> Path:
    if order not in SEQUENCES:
        raise invalid("read_beauty2014", "order", f"one of {tuple(SEQUENCES)}", order)
    path = folder / SEQUENCES[order]
    if not path.is_file():
        others = [name for name, file in SEQUENCES.items() if (folder / file).is_file()]
        remedy = f"add {path.name}, or read another order: {', '.join(others) or 'none is there'}"
        raise _refuse("read_beauty2014", "order", "one whose file is there", order, remedy)
    return path


def _items(path: Path, allow_untitled: bool) -> Iterator[Item]:
    seen: set[str] = set()
    for where, (item_id, _, title, brand, categories) in _rows(path, ITEM_COLUMNS):
        if item_id in seen:
            raise _refuse(where, "item_id", "an id of its own", item_id, "keep one row per id")
        seen.add(item_id)
        known_brand = None if brand in ("", UNKNOWN_BRAND) else brand
        category = tuple(part for part in categories.split(CATEGORY_SEPARATOR) if part)
        item = Item(item_id, title, known_brand, category)
        if not allow_untitled and not item_text(item):
            raise _refuse(where, "title", "some text in an item", "none", "or allow untitled items")
        yield item


def _times(where: str, texts: Sequence[str], count: int) -> list[int]:
    """Seconds that never fall; an unknown time takes that of its neighbour, earlier ones first."""
    if len(texts) != count:
        raise _refuse(where, "timestamps", f"one per item ({count})", str(len(texts)))
    known = [text for text in texts if text != UNKNOWN_TIME]
    wrong = [text for text in known if not _SECONDS.fullmatch(text)]
    if wrong:
        raise _refuse(where, "timestamps", "unix seconds or '-'", wrong[0])
    last = int(known[0]) if known else 0
    times: list[int] = []
    for text in texts:
        time = last if text == UNKNOWN_TIME else int(text)
        if time < last:
            raise _refuse(where, "timestamps", "times that never fall", f"{time} after {last}")
        times.append(time)
        last = time
    return times


def _rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    number = 0
    try:
        with gzip.open(path, "rb") as file:
            for number, line in enumerate(file, start=1):
                where = f"{path.name}:{number}"
                cells = line.decode().rstrip("\r\n").split("\t")
                if len(cells) != len(columns):
                    expected = f"{len(columns)} tab-separated cells {tuple(columns)}"
                    raise _refuse(where, "line", expected, f"{len(cells)} cells")
                if number > 1:
                    yield where, cells
                elif tuple(cells) != tuple(columns):
                    raise _refuse(where, "head line", f"{tuple(columns)}", f"{tuple(cells)}")
    except (EOFError, gzip.BadGzipFile, zlib.error, UnicodeDecodeError) as error:
        place = f"{path.name}:{number + 1}"
        raise _refuse(place, "file", "whole gzip with UTF-8 text", str(error)) from error
    if number == 0:
        raise _refuse(path.name, "file", "a head line", "an empty file")


def _refuse(
    where: str, field: str, expected: str, got: str, remedy: str | None = None
) -> DataError:
    return invalid(where, field, expected, got, remedy, kind=DataError)


def _detect(folder: Path) -> bool:
    return (folder / ITEMS).is_file() and any(
        (folder / name).is_file() for name in SEQUENCES.values()
    )


def _read(folder: Path, options: ReadOptions) -> Dataset:
    return read_beauty2014(
        folder, options.order or "shuffled", allow_untitled=options.allow_untitled
    )


READER = Reader(
    "beauty2014",
    f"{ITEMS} and {' or '.join(SEQUENCES.values())}",
    _detect,
    _read,
    orders=tuple(SEQUENCES),
)
