"""Cuts a text into features: words and word pairs, characters and character pairs.

Scripts that put spaces between words give words; scripts that do not (Chinese, Japanese, Thai, ...)
give single characters. Both then give pairs of neighbours, so that one rule serves mixed text.
"""

from __future__ import annotations

import itertools
import re
import unicodedata

# Changes to the rules below change what a stored vocabulary means.
ANALYZER_VERSION = 1

# Thai to Myanmar, Khmer, kana, Han and its extensions; Hangul has spaces and is not here.
_UNSPACED = (
    r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u31f0-\u31ff"
    r"\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
# Vowel signs are no letters to `re`, but they do not end a word.
_MARKS = r"\u0300-\u036f\u0591-\u05bd\u064b-\u0652\u0900-\u0963\u0970-\u0dff"
# Words are cut at 40 characters, so that no feature grows with a hostile text.
_NUMBER = r"\d{1,40}(?:[.,]\d{1,40})?"
_TOKEN = re.compile(rf"{_NUMBER}|[{_UNSPACED}]|(?:[^\W\d_{_UNSPACED}]|[{_MARKS}]){{1,40}}")
_ASCII_TOKEN = re.compile(rf"{_NUMBER}|[a-z]{{1,40}}", re.ASCII)
_POSSESSIVE = re.compile(r"['\u2019]s\b")
_FIRST_UNSPACED = "\u0e00"
_UNSPACED_CHARACTER = re.compile(rf"[{_UNSPACED}]")


def analyze(text: str) -> list[str]:
    """Features of a text, in order, repeats kept.

    The text is NFKC-normalised and lower-cased. Letters and digits are separate tokens, so that
    "50ml" and "50 ml" agree. A bare number or a single letter is no feature of its own: it says
    something only beside its neighbour ("spf 50", "vitamin c"). Cost: linear in the text.
    """
    tokens = tokenize(text)
    features = [token for token in tokens if _stands_alone(token)]
    features += [f"{left} {right}" for left, right in itertools.pairwise(tokens)]
    return features


def tokenize(text: str) -> list[str]:
    """Words, numbers, and single characters of scripts without spaces, in order."""
    if text.isascii():
        return _ASCII_TOKEN.findall(_POSSESSIVE.sub("", text.lower()))
    text = unicodedata.normalize("NFKC", text).lower()
    return _TOKEN.findall(_POSSESSIVE.sub("", text))


def is_unspaced(character: str) -> bool:
    """Whether the character belongs to a script that puts no spaces between words."""
    return character >= _FIRST_UNSPACED and _UNSPACED_CHARACTER.match(character) is not None


def _stands_alone(token: str) -> bool:
    if len(token) == 1:
        return token >= _FIRST_UNSPACED
    return not token[0].isdigit()
