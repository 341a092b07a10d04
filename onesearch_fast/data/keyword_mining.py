"""Keyword dictionaries mined from the catalogue's fields and the training log."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

from onesearch_fast.data.records import Item
from onesearch_fast.data.split import TrainLog
from onesearch_fast.sid.analyzer import is_unspaced, tokenize
from onesearch_fast.sid.keywords import (
    ATTRIBUTE_TYPES,
    MAX_KEYWORD_CHARACTERS,
    Keyword,
    KeywordDictionary,
    normalize_keyword_text,
)

# Names under which catalogues keep the attribute types.
_ALIASES = {
    "colour": "color",
    "fabric": "material",
    "gender": "audience",
    "age": "audience",
    "occasion": "scene",
    "use": "function",
    "origin": "location",
    "size": "specification",
    "capacity": "specification",
    "specifications": "specification",
    "line": "series",
}
_OTHER_TYPE = "modifier"
MINED = "mined"
# Characters of the longest phrase in scripts without spaces; most Chinese words have two.
_MAX_RUN = 4


def open_keywords(source: str | None, log: TrainLog) -> KeywordDictionary | None:
    """The dictionary that `source` names: a file's, what `mine_keywords` finds, or none."""
    if source is None:
        return None
    return mine_keywords(log) if source == MINED else KeywordDictionary.load(source)


def mine_keywords(
    log: TrainLog, per_attribute: int = 50_000, min_query_clicks: int = 3
) -> KeywordDictionary:
    """Brands, categories and attribute values of the items, and what queries share with clicks.

    A keyword's count is the popularity of its items plus one for each item. A word, a pair of words
    or a run of 2 to 4 characters of a script without spaces that stands in a query and in the title
    clicked for it counts its clicks, from `min_query_clicks` on, and is an "entity". The
    `per_attribute` most frequent of each type are kept, ties by their text. Reads nothing but the
    `TrainLog`.
    """
    counts: defaultdict[tuple[str, str], float] = defaultdict(float)
    popularity = log.item_popularity()
    for item, seen in zip(log.items, popularity, strict=True):
        for attribute, text in set(_fields(item)):
            counts[attribute, text] += 1 + float(seen)
    known = {text for _, text in counts}
    for text, clicks in _query_words(log).items():
        if clicks >= min_query_clicks and text not in known:
            counts["entity", text] = clicks
    return KeywordDictionary(_most_frequent(counts, per_attribute))


def _fields(item: Item) -> Iterator[tuple[str, str]]:
    """(attribute type, text) of the fields that name what the item is."""
    if item.brand:
        yield from _usable("brand", item.brand)
    for segment in item.category:
        yield from _usable("entity", segment)
    for name, values in item.attributes.items():
        attribute = _attribute_type(name)
        for value in values:
            yield from _usable(attribute, value)


def _usable(attribute: str, value: str) -> Iterator[tuple[str, str]]:
    text = normalize_keyword_text(value)
    if _says_something(text):
        yield attribute, text


def _attribute_type(name: str) -> str:
    name = normalize_keyword_text(name)
    name = _ALIASES.get(name, name)
    return name if name in ATTRIBUTE_TYPES else _OTHER_TYPE


def _says_something(text: str) -> bool:
    """Neither empty nor a lone letter or number, nor longer than a keyword may be."""
    if len(text) == 1:
        return is_unspaced(text)
    return 0 < len(text) <= MAX_KEYWORD_CHARACTERS and not text.isdigit()


def _query_words(log: TrainLog) -> dict[str, int]:
    """How often each phrase stands in a query and in the title clicked for it."""
    titles: dict[int, frozenset[str]] = {}
    clicks: Counter[str] = Counter()
    for history in log.histories:
        for event in history.events:
            if event.query is None:
                continue
            if event.row not in titles:
                titles[event.row] = frozenset(_phrases(log.items[event.row].title))
            clicks.update(titles[event.row].intersection(_phrases(event.query)))
    torn = {
        piece
        for text, count in clicks.items()
        for piece in _pieces(text)
        if clicks.get(piece) == count
    }
    return {text: count for text, count in clicks.items() if text not in torn}


def _pieces(text: str) -> tuple[str, ...]:
    """A text without spaces less its first or last character.

    A piece that is never seen outside the whole is no word: "衣裙" of "连衣裙".
    """
    return (text[1:], text[:-1]) if all(map(is_unspaced, text)) else ()


def _phrases(text: str) -> Iterator[str]:
    """Words, their neighbouring pairs, and runs of 2 to 4 characters of scripts without spaces."""
    text = normalize_keyword_text(text)
    tokens = tokenize(text)
    for token in tokens:
        if not is_unspaced(token) and _says_something(token):
            yield token
    for length in range(2, _MAX_RUN + 1):
        for begin in range(len(tokens) - length + 1):
            part = tokens[begin : begin + length]
            pair = length == 2 and not all(token.isdigit() for token in part)
            if pair or all(map(is_unspaced, part)):
                phrase = _as_written(part, text)
                if phrase in text:
                    yield phrase


def _as_written(tokens: Sequence[str], text: str) -> str:
    """The tokens joined as in the text, "50ml" or "50 ml": a keyword is found as it is written."""
    phrase = tokens[0]
    for token in tokens[1:]:
        joined = phrase + token
        phrase = joined if joined in text else f"{phrase} {token}"
    return phrase


def _most_frequent(
    counts: Mapping[tuple[str, str], float], per_attribute: int
) -> Iterator[Keyword]:
    taken: Counter[str] = Counter()
    for (attribute, text), count in sorted(counts.items(), key=lambda one: (-one[1], one[0])):
        if taken[attribute] < per_attribute:
            taken[attribute] += 1
            yield Keyword(text, attribute, count)
