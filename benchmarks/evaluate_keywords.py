"""Precision and recall of keyword matching on labelled Chinese shop talk.

    python benchmarks/evaluate_keywords.py DATA/zh_titles build/keywords_zh_titles.json

The label of an utterance is its set of (text, attribute type); a keyword counts as right when both
agree. The dictionaries differ in what they were made of; `oracle` has the test's own spans, so that
what it lacks is the matcher's doing, not the dictionary's.
"""

from __future__ import annotations

import argparse
import gzip
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from onesearch_fast.files import write_json
from onesearch_fast.sid.keywords import Keyword, KeywordDictionary, normalize_keyword_text

ATTRIBUTES = {
    "cp": "entity",
    "pp": "brand",
    "gg": "specification",
    "xh": "model",
    "yl": "material",
}
# A word is kept when at least this share of its matches in the training text is labelled.
RELIABLE = 0.5

Span = tuple[str, str]


@dataclass(frozen=True)
class Utterance:
    """A text and its labelled spans."""

    text: str
    spans: frozenset[Span]


@dataclass(frozen=True)
class Score:
    """precision = right / found, recall = right / labelled, recall_of_known = right / known.

    `known` are the labelled spans that the dictionary has.
    """

    labelled: int
    known: int
    found: int
    right: int
    precision: float
    recall: float
    recall_of_known: float


def read_utterances(path: Path) -> list[Utterance]:
    blocks = gzip.decompress(path.read_bytes()).decode().strip().split("\n\n")
    return [_utterance([_character(line) for line in block.splitlines()]) for block in blocks]


def _character(line: str) -> tuple[str, str]:
    character, _, label = line.rpartition("\t" if "\t" in line else " ")
    return character or " ", label


def _utterance(characters: Sequence[tuple[str, str]]) -> Utterance:
    spans: list[list[str]] = []
    for character, label in characters:
        if label.startswith("B-"):
            spans.append([character, ATTRIBUTES[label[2:]]])
        elif label.startswith("I-") and spans:
            spans[-1][0] += character
    text = "".join(character for character, _ in characters)
    return Utterance(text, frozenset((normalize_keyword_text(t), kind) for t, kind in spans))


def dictionary(utterances: Sequence[Utterance]) -> KeywordDictionary:
    """All labelled spans, each with how often it was seen."""
    counts = Counter(span for one in utterances for span in one.spans if span[0])
    return KeywordDictionary(Keyword(text, kind, n) for (text, kind), n in counts.items())


def matches(keywords: KeywordDictionary, utterance: Utterance) -> frozenset[Span]:
    return frozenset((one.text, one.attribute) for one in keywords.match(utterance.text))


def reliable(keywords: KeywordDictionary, utterances: Sequence[Utterance]) -> KeywordDictionary:
    """Those of `keywords` that the utterances label in `RELIABLE` of their matches or more."""
    found: Counter[Span] = Counter()
    right: Counter[Span] = Counter()
    for one in utterances:
        matched = matches(keywords, one)
        found.update(matched)
        right.update(matched & one.spans)

    def trusted(keyword: Keyword) -> bool:
        span = (keyword.text, keyword.attribute)
        return right[span] >= RELIABLE * found[span]

    return KeywordDictionary(one for one in keywords.keywords if trusted(one))


def score(keywords: KeywordDictionary, utterances: Sequence[Utterance], kinds: set[str]) -> Score:
    texts = {(one.text, one.attribute) for one in keywords.keywords}
    totals = Counter[str]()
    for one in utterances:
        spans = {span for span in one.spans if span[1] in kinds}
        matched = {span for span in matches(keywords, one) if span[1] in kinds}
        totals["labelled"] += len(spans)
        totals["known"] += len(spans & texts)
        totals["found"] += len(matched)
        totals["right"] += len(spans & matched)
    right = totals["right"]
    shares = (round(right / max(totals[of], 1), 4) for of in ("found", "labelled", "known"))
    return Score(totals["labelled"], totals["known"], totals["found"], right, *shares)


def dictionaries(folder: Path) -> Iterator[tuple[str, KeywordDictionary]]:
    labelled = [one for part in ("train", "dev") for one in read(folder, part)]
    yield "labelled", dictionary(labelled)
    yield "labelled, reliable", reliable(dictionary(labelled), labelled)
    yield "oracle", dictionary(read(folder, "test"))


def read(folder: Path, part: str) -> list[Utterance]:
    return read_utterances(folder / f"DSNER_EC_{part}.gz")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    test = read(arguments.data, "test")
    results = {}
    groups = {kind: {kind} for kind in ATTRIBUTES.values()} | {"all": set(ATTRIBUTES.values())}
    for name, keywords in dictionaries(arguments.data):
        scores = {group: asdict(score(keywords, test, of)) for group, of in groups.items()}
        results[name] = {"keywords": len(keywords), "scores": scores}
        shown = "  ".join(f"{key} {value}" for key, value in scores["all"].items())
        print(f"{name}, {len(keywords)} keywords: {shown}")
    write_json(arguments.out, {"utterances": len(test), "dictionaries": results})


if __name__ == "__main__":
    main()
