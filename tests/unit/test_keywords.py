"""Keywords: matching against a plain oracle, both scripts, the fused encoder, files, mining."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onesearch_fast.data.keyword_mining import mine_keywords, open_keywords
from onesearch_fast.data.records import Item
from onesearch_fast.data.split import Event, TrainLog, UserHistory
from onesearch_fast.errors import FormatError
from onesearch_fast.sid.keyword_encoder import KeywordEncoder
from onesearch_fast.sid.keywords import ATTRIBUTE_TYPES, Keyword, KeywordDictionary
from onesearch_fast.sid.text_encoder import load_text_encoder
from onesearch_fast.sid.tfidf_encoder import TfidfEncoder


def dictionary(*texts: str) -> KeywordDictionary:
    return KeywordDictionary(Keyword(text, "modifier") for text in texts)


def found(keywords: KeywordDictionary, text: str) -> list[str]:
    return [one.text for one in keywords.match(text)]


def test_there_are_eighteen_attribute_types() -> None:
    assert len(set(ATTRIBUTE_TYPES)) == 18


@pytest.mark.parametrize(
    ("keywords", "text", "expected"),
    [
        (("wool", "red"), "Red WOOL scarf", ["red", "wool"]),
        (("art",), "party", []),
        (("art",), "party art", ["art"]),
        (("hair", "hair dryer"), "a hair dryer", ["hair dryer"]),
        (("hair", "hair dryer"), "a hair dryer for hair", ["hair dryer", "hair"]),
        (("hair", "hair dryer", "dryer stand"), "hair dryer stand", ["hair dryer", "dryer stand"]),
        (("iphone",), "iphone15 case", ["iphone"]),
        (("iphone 15",), "iphone  15", ["iphone 15"]),
        (("15",), "iphone15 and 1.15 and 15.5 and 150", []),
        (("15",), "iphone 15.", ["15"]),
        (("50ml",), "150ml", []),
        (("50ml",), "50ml,50ml", ["50ml"]),
        (("a1",), "a12", []),
        (("纯棉", "棉"), "男士纯棉T恤", ["纯棉"]),
        (("纯棉", "棉"), "纯棉和棉", ["纯棉", "棉"]),
        (("t恤",), "纯棉T恤男", ["t恤"]),
        (("iphone",), "苹果iPhone手机", ["iphone"]),
        (("15",), "第15代", ["15"]),
        (("ｗｏｏｌ",), "wool", ["wool"]),
        (("wool",), "", []),
    ],
)
def test_matching(keywords: tuple[str, ...], text: str, expected: list[str]) -> None:
    assert found(dictionary(*keywords), text) == expected


words = st.text(alphabet="ab 1棉", min_size=1, max_size=4).filter(lambda text: text.strip())


def oracle(keywords: Sequence[str], text: str) -> list[str]:
    """The definition, by trying every place; a word boundary as in the class's sentence."""
    text = " ".join(text.split())

    def kind(character: str) -> str:
        return "digit" if character == "1" else "letter" if character in "ab" else "other"

    def joined(at: int) -> bool:
        inside = 0 < at < len(text)
        return inside and kind(text[at]) == kind(text[at - 1]) != "other"

    def alone(begin: int, end: int) -> bool:
        return not any(
            kind(c) != "other" for c in text[max(0, begin - 1) : begin] + text[end : end + 1]
        )

    places = []
    for keyword in {" ".join(one.split()) for one in keywords}:
        for begin in range(len(text) - len(keyword) + 1):
            end = begin + len(keyword)
            whole = alone(begin, end) if keyword.isdigit() else not (joined(begin) or joined(end))
            if text.startswith(keyword, begin) and whole:
                places.append((begin, end, keyword))
    places.sort(key=lambda place: place[0] - place[1])
    kept: list[tuple[int, int, str]] = []
    for begin, end, keyword in places:
        if not any(b <= begin and end <= e for b, e, _ in kept):
            kept.append((begin, end, keyword))
    return list(dict.fromkeys(keyword for _, _, keyword in sorted(kept)))


@given(st.lists(words, min_size=1, max_size=6), st.text(alphabet="ab 1棉", max_size=14))
def test_matching_equals_the_definition(keywords: list[str], text: str) -> None:
    assert found(dictionary(*keywords), text) == oracle(keywords, text)


def test_equal_texts_merge_into_the_one_seen_most() -> None:
    merged = KeywordDictionary(
        [Keyword("Rose", "entity", 2), Keyword("rose ", "color", 5), Keyword("rose", "brand", 5)]
    )
    assert merged.keywords == (Keyword("rose", "brand", 5.0),)


@pytest.mark.parametrize(
    "bad",
    [
        Keyword(" ", "brand"),
        Keyword("x" * 101, "brand"),
        Keyword("red\twool", "material"),
        Keyword("red\n", "color"),
        Keyword("red\u2028wool", "color"),
        Keyword("x", "colour"),
        Keyword("x", "color", -1),
        Keyword("x", "color", float("nan")),
    ],
)
def test_bad_keywords_are_refused(bad: Keyword) -> None:
    with pytest.raises(ValueError, match=r"KeywordDictionary: keyword\."):
        KeywordDictionary([bad])


def test_round_trip_and_bad_lines(tmp_path: Path) -> None:
    path = tmp_path / "keywords.jsonl"
    ours = KeywordDictionary([Keyword("纯棉", "material", 3), Keyword("red", "color", 2)])
    ours.save(path)
    assert KeywordDictionary.load(path).keywords == ours.keywords
    path.write_text('{"text": "a", "attribute": "brand"}\n\n{"text": 3}\n', encoding="utf-8")
    with pytest.raises(FormatError, match=r"keywords\.jsonl:3: expected"):
        KeywordDictionary.load(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "at least one keyword, got none"),
        (b"\n \n", "at least one keyword, got none"),
        (b"\xff\xfe", "expected UTF-8 text"),
        (b'{"text": "a\\tb", "attribute": "brand"}', ":1: .*control characters"),
        (b'{"text": "a", "attribute": "colour"}', ":1: .*expected one of entity, modifier"),
        (b'{"text": "a", "attribute": "brand", "weight": 1}', ":1: expected .*weight"),
        (b'{"text": "a", "attribute": "brand", "count": "many"}', ":1: .*a number, got many"),
        (b'{"text": 5, "attribute": "brand"}', ":1: .*keyword.text: expected a string, got 5"),
        (b'{"text": "a"}', ":1: expected .*, got"),
        (b'["a", "brand"]', ":1: expected .*, got"),
        (b"a,brand", ":1: expected .*, got no JSON: a,brand"),
    ],
)
def test_bad_files_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "keywords.jsonl"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=message):
        KeywordDictionary.load(path)


@pytest.mark.parametrize("name", ["nothing.jsonl", "."])
def test_what_is_no_file_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=r"path: expected a file .*, got "):
        KeywordDictionary.load(tmp_path / name)


def test_a_dictionary_without_keywords_is_refused() -> None:
    with pytest.raises(ValueError, match="KeywordDictionary: keywords: expected at least one"):
        KeywordDictionary([])


TEXTS = ["red wool scarf", "blue wool hat", "steel pan", "纯棉衬衫", "pan lid", "red hat"] * 3


@pytest.fixture(scope="module")
def encoders() -> tuple[TfidfEncoder, KeywordEncoder]:
    plain = TfidfEncoder.fit(TEXTS, 4, 0)
    return plain, KeywordEncoder(plain, dictionary("wool", "pan", "纯棉"))


def test_vectors_are_drawn_to_their_keywords(
    encoders: tuple[TfidfEncoder, KeywordEncoder],
) -> None:
    plain, fused = encoders
    text, keyword, without = plain.encode(["red wool scarf", "wool", "red hat"])
    expected = text + keyword
    np.testing.assert_allclose(
        fused.encode(["red wool scarf"])[0], expected / np.linalg.norm(expected), atol=1e-6
    )
    np.testing.assert_array_equal(fused.encode(["red hat"])[0], without)


def test_a_batch_and_single_queries_give_the_same_bits(
    encoders: tuple[TfidfEncoder, KeywordEncoder],
) -> None:
    _, fused = encoders
    batch = fused.encode(TEXTS)
    np.testing.assert_array_equal(batch, np.concatenate([fused.encode([text]) for text in TEXTS]))


def test_given_vectors_are_drawn_to_keywords_as_encoded_ones(
    encoders: tuple[TfidfEncoder, KeywordEncoder],
) -> None:
    plain, fused = encoders
    given = plain.encode(TEXTS)
    before = given.copy()
    np.testing.assert_array_equal(fused.enhance(given, TEXTS), fused.encode(TEXTS))
    np.testing.assert_array_equal(given, before)
    with pytest.raises(ValueError, match=r"vectors: expected shape \(1, 4\), got shape \(18, 4\)"):
        fused.enhance(given, ["wool"])
    with pytest.raises(ValueError, match=r"keyword_vectors: expected shape \(3, 4\)"):
        KeywordEncoder(plain, fused.dictionary, np.zeros((2, 4), np.float32))


def test_the_encoder_is_found_again_and_altered_files_are_noticed(
    encoders: tuple[TfidfEncoder, KeywordEncoder], tmp_path: Path
) -> None:
    _, fused = encoders
    fused.save(tmp_path / "encoder")
    again = load_text_encoder(tmp_path / "encoder")
    np.testing.assert_array_equal(again.encode(TEXTS), fused.encode(TEXTS))
    (tmp_path / "encoder" / "keywords.jsonl").write_text("", encoding="utf-8")
    with pytest.raises(FormatError, match="checksum"):
        load_text_encoder(tmp_path / "encoder")


def a_log() -> TrainLog:
    items = (
        Item("a", "Velvet lip balm", "Rosé", ("Beauty", "Lips"), {"Colour": ("Red",)}),
        Item("b", "Sunscreen SPF 50", None, ("Beauty",), {"finish": ("Matte",), "size": ("50",)}),
    )
    events = tuple(Event(time, 0, "click", "velvet lip gloss") for time in range(3))
    return TrainLog(items, (UserHistory("u", None, events),))


def test_mining_reads_fields_and_what_queries_share_with_clicks() -> None:
    mined = {one.text: one for one in mine_keywords(a_log()).keywords}
    assert mined["rosé"] == Keyword("rosé", "brand", 4.0)
    assert mined["beauty"] == Keyword("beauty", "entity", 5.0)
    assert mined["red"].attribute == "color"
    assert mined["matte"].attribute == "modifier"
    assert mined["velvet lip"] == Keyword("velvet lip", "entity", 3.0)
    assert "gloss" not in mined
    assert "50" not in mined


def test_mining_finds_words_of_chinese_and_mixed_texts_as_they_are_written() -> None:
    items = (Item("a", "夏季连衣裙 T恤 50ml"), Item("b", "碎花连衣裙"), Item("c", "夏装"))
    asked = [(0, "夏季连衣裙"), (0, "连衣裙 夏季"), (0, "t恤50ml"), (1, "连衣裙"), (2, "夏装")]
    events = tuple(Event(time, row, "click", query) for time, (row, query) in enumerate(asked))
    log = TrainLog(items, (UserHistory("u", None, events),))
    mined = {one.text: one.count for one in mine_keywords(log, min_query_clicks=1).keywords}
    # "衣裙" and "连衣" never stand outside "连衣裙"; "t恤" and "50ml" stay as they are written.
    assert mined["连衣裙"] == 3
    assert mined["夏季"] == 2
    assert mined["夏装"] == 1
    assert {"t恤", "50ml"} <= mined.keys()
    assert not {"衣裙", "连衣", "t 恤", "50 ml", "夏", "裙夏"} & mined.keys()
    found_ones = [
        one.text
        for one in KeywordDictionary(mine_keywords(log, 99, 1).keywords).match("T恤 50ml 连衣裙")
    ]
    assert found_ones == ["t恤", "50ml", "连衣裙"]


def test_mining_keeps_the_most_frequent_of_each_type() -> None:
    kept = mine_keywords(a_log(), per_attribute=1).keywords
    assert sorted(one.attribute for one in kept) == ["brand", "color", "entity", "modifier"]
    assert [one.text for one in kept if one.attribute == "entity"] == ["beauty"]
    assert not any(
        one.text == "velvet" for one in mine_keywords(a_log(), min_query_clicks=4).keywords
    )


def test_keywords_are_opened_by_what_names_them(tmp_path: Path) -> None:
    dictionary("wool").save(tmp_path / "own.jsonl")
    opened = open_keywords(str(tmp_path / "own.jsonl"), a_log())
    assert opened is not None and [one.text for one in opened.keywords] == ["wool"]
    mined = open_keywords("mined", a_log())
    assert mined is not None and mined.keywords == mine_keywords(a_log()).keywords
    assert open_keywords(None, a_log()) is None
