"""The tokeniser of the lexical baseline: English words and Chinese characters with bigrams."""

from __future__ import annotations

import re
import unicodedata

_HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_HAN}]+|[^\W_{_HAN}]+(?:[.'’][^\W_{_HAN}]+)*")
_IS_HAN = re.compile(f"[{_HAN}]").match


def tokenise(text: str) -> list[str]:
    """Tokens of a title or query: NFKC, case-folded; words without plural endings; for a run of
    Chinese characters each character and each pair of neighbours.

    >>> tokenise("Nail Polishes 口红")
    ['nail', 'polish', '口', '红', '口红']
    """
    tokens: list[str] = []
    for word in _WORD.findall(unicodedata.normalize("NFKC", text).casefold()):
        if _IS_HAN(word):
            tokens.extend(word)
            tokens.extend(word[at : at + 2] for at in range(len(word) - 1))
        else:
            tokens.append(_singular(word))
    return tokens


def _singular(word: str) -> str:
    """Strips an English plural or possessive ending, and nothing else."""
    for possessive in ("'s", "’s"):
        word = word.removesuffix(possessive)
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 4 and word.endswith(("shes", "ches", "sses", "xes")):
        return word[:-2]
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word
