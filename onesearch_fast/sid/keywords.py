"""Keywords: a dictionary of attribute values, found in texts by Aho-Corasick."""

from __future__ import annotations

import json
import os
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from onesearch_fast.errors import FormatError, invalid
from onesearch_fast.files import atomic_path
from onesearch_fast.sid.analyzer import is_unspaced
from onesearch_fast.sid.text_encoder import check_texts

# The attribute types of OneSearch (arXiv 2509.03236, section 3.1.2).
ATTRIBUTE_TYPES = (
    "entity",
    "modifier",
    "brand",
    "material",
    "style",
    "function",
    "location",
    "audience",
    "color",
    "scene",
    "specification",
    "price",
    "model",
    "anchor",
    "series",
    "marketing",
    "season",
    "pattern",
)
MAX_KEYWORD_CHARACTERS = 100

_SPACES = re.compile(r"\s+")
# A tab or a line break in a keyword is a table that was cut at the wrong place.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


@dataclass(frozen=True, slots=True)
class Keyword:
    """A word or phrase of one attribute type; `count` is how often it was seen."""

    text: str
    attribute: str
    count: float = 1.0


_FIELDS = set(Keyword.__slots__)


def normalize_keyword_text(text: str) -> str:
    """NFKC, lower case, single spaces: the form in which keywords and texts are compared."""
    return _SPACES.sub(" ", unicodedata.normalize("NFKC", text).lower()).strip()


class KeywordDictionary:
    """Finds the keywords of a text: longest first, what lies inside a longer one dropped.

    In scripts that put spaces between words an occurrence begins and ends with a word; a digit next
    to a letter begins a new one, so that "iphone" is found in "iphone15". A keyword that is a bare
    number must stand alone: "15" is found in "iphone 15", not in "iphone15" or "1.15". Scripts
    without spaces (Chinese, Japanese, Thai) have no such guard. Immutable, safe between threads.
    Source: OneSearch, arXiv 2509.03236, section 3.1.2. Needs pyahocorasick.
    """

    def __init__(self, keywords: Iterable[Keyword]) -> None:
        """Keywords equal after `normalize_keyword_text` merge into the one seen most often.

        Raises ValueError without any keyword, and for one that is empty, longer than 100
        characters, has control characters or an attribute that is none of `ATTRIBUTE_TYPES`.
        """
        import ahocorasick

        self._keywords = _merge(keywords)
        if not self._keywords:
            remedy = "give keywords, or build without a dictionary"
            raise invalid("KeywordDictionary", "keywords", "at least one", "none", remedy)
        self._automaton = ahocorasick.Automaton()
        for index, keyword in enumerate(self._keywords):
            self._automaton.add_word(keyword.text, index)
        self._automaton.make_automaton()

    @property
    def keywords(self) -> tuple[Keyword, ...]:
        """All keywords, normalised, in the order of their text."""
        return self._keywords

    def __len__(self) -> int:
        return len(self._keywords)

    def match(self, text: str) -> tuple[Keyword, ...]:
        """The keywords of `text`, each once, in the order in which they first occur.

        Cost: linear in the text and in the number of occurrences.
        """
        check_texts("KeywordDictionary.match", [text])
        return tuple(self._keywords[index] for index in self.match_indices(text))

    def match_indices(self, text: str) -> list[int]:
        """As `match`: where the keywords stand in `keywords`."""
        text = normalize_keyword_text(text)
        occurrences = [
            (end + 1 - len(self._keywords[index].text), end + 1, index)
            for end, index in self._automaton.iter(text)
        ]
        whole = [found for found in occurrences if self._is_whole(text, *found)]
        return list(dict.fromkeys(index for _, _, index in _maximal(whole)))

    def _is_whole(self, text: str, begin: int, end: int, index: int) -> bool:
        if self._keywords[index].text.isdigit():
            return _number_ends(text, begin - 1, -1) and _number_ends(text, end, 1)
        return not (_joined(text, begin) or _joined(text, end))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes one JSON object a line, atomically."""
        lines = [json.dumps(asdict(one), ensure_ascii=False) for one in self._keywords]
        with atomic_path(path) as temporary:
            Path(temporary).write_text("".join(line + "\n" for line in lines), encoding="utf-8")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> KeywordDictionary:
        """Reads what `save` wrote, or a file written by hand: one JSON object a line.

        `text` and `attribute` are needed, `count` is 1 when absent. FormatError names a bad line,
        and a file without any keyword.
        """
        if not Path(path).is_file():
            expected = "a file with one JSON object a line"
            raise invalid("KeywordDictionary.load", "path", expected, str(path))
        try:
            lines = Path(path).read_text(encoding="utf-8").split("\n")
        except UnicodeDecodeError as error:
            raise FormatError(f"{path}: expected UTF-8 text: {error}") from error
        filled = [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
        if not filled:
            raise FormatError(f"{path}: expected at least one keyword, got none")
        return cls(_parse(f"{path}:{number}", line) for number, line in filled)


def _merge(keywords: Iterable[Keyword]) -> tuple[Keyword, ...]:
    best: dict[str, Keyword] = {}
    for keyword in keywords:
        one = _checked(keyword)
        # Ties by attribute, so that the order of the input does not matter.
        rank = (-one.count, one.attribute)
        other = best.get(one.text)
        if other is None or rank < (-other.count, other.attribute):
            best[one.text] = one
    return tuple(best[text] for text in sorted(best))


def _checked(keyword: Keyword) -> Keyword:
    where = "KeywordDictionary"
    if not isinstance(keyword.text, str):
        raise invalid(where, "keyword.text", "a string", keyword.text, kind=TypeError)
    if not isinstance(keyword.count, (int, float)):
        raise invalid(where, "keyword.count", "a number", keyword.count, kind=TypeError)
    text = normalize_keyword_text(keyword.text)
    if _CONTROL.search(keyword.text):
        expected = "text without tabs, line breaks and other control characters"
        raise invalid(where, "keyword.text", expected, repr(keyword.text), "one keyword a line")
    if not 0 < len(text) <= MAX_KEYWORD_CHARACTERS:
        expected = f"1 to {MAX_KEYWORD_CHARACTERS} characters"
        raise invalid(where, "keyword.text", expected, keyword.text)
    if keyword.attribute not in ATTRIBUTE_TYPES:
        expected = f"one of {', '.join(ATTRIBUTE_TYPES)}"
        raise invalid(where, "keyword.attribute", expected, keyword.attribute)
    if not 0 <= keyword.count < float("inf"):
        raise invalid(where, "keyword.count", "a finite number of at least 0", keyword.count)
    return Keyword(text, keyword.attribute, float(keyword.count))


def _parse(where: str, line: str) -> Keyword:
    expected = 'expected {"text": ..., "attribute": ..., "count": ...}'
    try:
        fields = json.loads(line)
    except ValueError as error:
        raise FormatError(f"{where}: {expected}, got no JSON: {line[:100]}") from error
    if not isinstance(fields, dict) or not {"text", "attribute"} <= fields.keys() <= _FIELDS:
        raise FormatError(f"{where}: {expected}, got {line[:100]}")
    try:
        return _checked(Keyword(**fields))
    except (TypeError, ValueError) as error:
        raise FormatError(f"{where}: {error}") from error


def _maximal(occurrences: Sequence[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """The (begin, end, index) that lie inside no other one, by their begin."""
    kept: list[tuple[int, int, int]] = []
    reached = 0
    for found in sorted(occurrences, key=lambda one: (one[0], -one[1])):
        if found[1] > reached:
            kept.append(found)
            reached = found[1]
    return kept


def _joined(text: str, at: int) -> bool:
    """Whether one word runs across the place before character `at`."""
    if at == 0 or at == len(text):
        return False
    left, right = text[at - 1], text[at]
    return (left.isdigit() and right.isdigit()) or (_is_letter(left) and _is_letter(right))


def _is_letter(character: str) -> bool:
    # Vowel signs (category M) are no letters to `isalpha`, but they do not end a word.
    spaced = character.isalpha() or unicodedata.category(character)[0] == "M"
    return spaced and not is_unspaced(character)


def _number_ends(text: str, at: int, step: int) -> bool:
    """Whether a number ends next to character `at`: no letter, digit or decimal part follows."""
    if not 0 <= at < len(text):
        return True
    if text[at] in ".,":
        beyond = at + step
        return not (0 <= beyond < len(text) and text[beyond].isdigit())
    return not (text[at].isdigit() or _is_letter(text[at]))
