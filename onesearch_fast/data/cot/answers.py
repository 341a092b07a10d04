"""What a language model answered, read strictly, and kept so that it is asked once."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onesearch_fast.data.cot import MAX_KEYWORDS, Keywords
from onesearch_fast.sid.keywords import MAX_KEYWORD_CHARACTERS, normalize_keyword_text

INTENTS = ("product", "function", "question", "negation", "other")


@dataclass(frozen=True, slots=True)
class Analysis:
    """A query, understood. A query of intent "other" asks for no product and gets no keywords."""

    intent: str
    category: Keywords
    attributes: Keywords
    topics: Keywords


def read_analysis(text: str, categories: frozenset[str]) -> Analysis | None:
    """The analysis that `text` holds; None unless it is whole and names known categories."""
    value = _json_object(text)
    if value is None or value.get("intent") not in INTENTS:
        return None
    lists = [_texts(value.get(key)) for key in ("category", "attributes", "topics")]
    if any(one is None for one in lists):
        return None
    category, attributes, topics = (one or () for one in lists)
    if not categories.issuperset(category):
        return None
    return Analysis(value["intent"], category, attributes, topics)


def read_keywords(text: str, category: Keywords) -> Keywords | None:
    """The keywords that `text` holds; None unless there are 1 to 8, of that very category."""
    value = _json_object(text)
    if value is None or _texts(value.get("category")) != category:
        return None
    keywords = _texts(value.get("keywords"))
    return keywords if keywords and len(keywords) <= MAX_KEYWORDS else None


class AnswerCache:
    """Answers by prompt, one JSON object a line, each written as soon as it is there.

    A line that a kill has torn is passed over and its prompt asked again.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self._answers: dict[str, str] = {}
        if self._path.is_file():
            for line in self._path.read_text(encoding="utf-8", errors="replace").splitlines():
                self._remember(line)

    def __len__(self) -> int:
        return len(self._answers)

    def get(self, prompt: str) -> str | None:
        return self._answers.get(_key(prompt))

    def add(self, answers: Mapping[str, str]) -> None:
        """Prompt -> answer; on the disk when this returns."""
        keyed = {_key(prompt): answer for prompt, answer in answers.items()}
        self._answers.update(keyed)
        lines = [json.dumps({"prompt": key, "answer": text}) for key, text in keyed.items()]
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as file:
            # A line break first: what stands before it may be a torn line.
            file.write("".join(f"\n{line}" for line in lines))
            file.flush()
            os.fsync(file.fileno())

    def _remember(self, line: str) -> None:
        try:
            entry = json.loads(line)
            self._answers[str(entry["prompt"])] = str(entry["answer"])
        except (ValueError, TypeError, KeyError):
            return


def _key(prompt: str) -> str:
    return hashlib.sha256(prompt.encode()).hexdigest()


def _json_object(text: str) -> dict[str, Any] | None:
    """The first JSON object in a text; models like to say something before and after it."""
    begin = text.find("{")
    if begin < 0:
        return None
    try:
        value, _ = json.JSONDecoder().raw_decode(text[begin:])
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _texts(value: object) -> Keywords | None:
    """A list of short texts, normalised, each once; None when it is anything else."""
    if not isinstance(value, Sequence) or isinstance(value, str):
        return None
    if not all(isinstance(one, str) for one in value):
        return None
    texts = tuple(dict.fromkeys(normalize_keyword_text(one) for one in value))
    return texts if all(0 < len(one) <= MAX_KEYWORD_CHARACTERS for one in texts) else None
