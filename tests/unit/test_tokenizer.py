import json
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import BPE
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from onesearch_fast.data import tokenizer as tokenizer_module
from onesearch_fast.data.tokenizer import SidTokenizer
from onesearch_fast.errors import FormatError

TEXTS = ["Red dress", "red leather boots", "红色连衣裙 女装", "红色 靴子", "blue dress women"] * 4
SIZES = (8, 4, 5, 5)
MARKERS = ("<query>", "<item>")


@pytest.fixture(scope="module")
def tokenizer() -> SidTokenizer:
    return SidTokenizer.train(TEXTS, 320, SIZES, 2, MARKERS)


def test_every_level_is_one_id_range_in_code_order(tokenizer):
    offsets = tokenizer.code_token_offsets
    assert list(np.diff(offsets)) == list(SIZES[:-1])
    names = tokenizer.hf.convert_ids_to_tokens(list(range(offsets[0], tokenizer.vocab_size)))
    assert names[:3] == ["<a_0>", "<a_1>", "<a_2>"]
    assert names[8:13] == ["<b_0>", "<b_1>", "<b_2>", "<b_3>", "<c_0>"]
    assert names[-5:] == ["<c_5>", "<c_6>", "<c_7>", "<c_8>", "<c_9>"]
    assert tokenizer.code_ids([[1, 2, 3, 4]]).tolist() == [
        [offsets[0] + 1, offsets[1] + 2, offsets[2] + 3, offsets[3] + 4]
    ]


def test_words_are_the_same_pieces_in_any_case_place_and_width(tokenizer):
    dress = tokenizer.encode_text("dress")
    assert tokenizer.encode_text("  RED\tDress ") == tokenizer.encode_text("red") + dress
    assert tokenizer.encode_text("ＤＲＥＳＳ") == dress  # full-width letters
    assert len(tokenizer.encode_text("红色")) == 1


def test_spelled_tokens_stay_text(tokenizer):
    spelled = "<a_5> <item> <eos> <query> red<b_0>"
    ids = tokenizer.encode_text(spelled)
    assert not {tokenizer.pad_id, tokenizer.eos_id} & set(ids)
    assert max(ids) < min(tokenizer.marker_id("<query>"), tokenizer.code_token_offsets[0])
    assert tokenizer.decode_text(ids) == spelled


@settings(max_examples=100, deadline=None)
@given(text=st.text(max_size=40))
def test_text_pieces_lose_nothing_but_case_and_spaces(tokenizer, text):
    ids = tokenizer.encode_text(text)
    assert all(2 < token < tokenizer.marker_id("<query>") for token in ids)
    normalized = tokenizer.hf.backend_tokenizer.normalizer.normalize_str(text)
    assert tokenizer.hf.decode(ids).removeprefix(" ") == normalized.removeprefix(" ")


@pytest.mark.parametrize("bad", ["\ud800", "red \udfff dress"])
def test_lone_surrogates_are_refused(tokenizer, bad):
    with pytest.raises(ValueError, match="lone surrogate"):
        tokenizer.encode_text(bad)


def test_what_is_not_text_is_refused(tokenizer):
    with pytest.raises(TypeError, match="expected a string"):
        tokenizer.encode_text(5)


def test_another_thread_may_empty_the_cache_at_any_time(tokenizer, monkeypatch):
    known, new = "red dress", "blue shoes of a kind"
    expected = [tokenizer.encode_text(known), tokenizer.encode_text(new)]
    encode = tokenizer._text.encode_batch

    class EmptiedMeanwhile:
        def encode_batch(self, texts, **options):
            monkeypatch.setattr(tokenizer_module, "_CACHED_TEXTS", 0)
            monkeypatch.setattr(tokenizer, "_text", SimpleNamespace(encode_batch=encode))
            tokenizer.encode_text("something else")
            return encode(texts, **options)

    tokenizer._cache.pop(new)
    monkeypatch.setattr(tokenizer, "_text", EmptiedMeanwhile())
    assert tokenizer.encode_texts([known, new]) == expected


@pytest.mark.parametrize("damage", ["tokenizer.json", "metadata", "list"])
def test_a_damaged_folder_is_refused(tokenizer, tmp_path, damage):
    tokenizer.save(tmp_path)
    config = tmp_path / "tokenizer_config.json"
    if damage == "tokenizer.json":
        (tmp_path / damage).write_text('{"version": "1.0"}')
    else:
        config.write_text("[]" if damage == "list" else '{"semantic_ids": {}}')
    with pytest.raises(FormatError, match="tokenizer"):
        SidTokenizer.load(tmp_path)


def test_a_batch_equals_single_texts(tokenizer):
    texts = ["red", "", "红色", "red", "<a_1>"]
    assert tokenizer.encode_texts(texts) == [tokenizer.encode_text(text) for text in texts]
    changed = tokenizer.encode_texts(["red"])[0]
    changed.append(0)  # the caller's list, not the cached one
    assert tokenizer.encode_text("red") != changed


@pytest.mark.parametrize("codes", [[8, 0, 0, 0], [-1, 0, 0, 0], [0, 0, 0], [0.5, 0, 0, 0]])
def test_codes_outside_their_level_are_refused(tokenizer, codes):
    with pytest.raises(ValueError, match=r"SidTokenizer\.code_ids: codes"):
        tokenizer.code_ids(codes)


def test_transformers_opens_the_folder_as_it_is(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    ids = theirs("<item><a_3><b_1>")["input_ids"]
    first, second, *_ = tokenizer.code_token_offsets
    assert ids == [tokenizer.marker_id("<item>"), first + 3, second + 1]
    assert theirs.decode(ids, skip_special_tokens=True).replace(" ", "") == "<item><a_3><b_1>"
    recorded = json.loads((tmp_path / "tokenizer_config.json").read_text())["semantic_ids"]
    assert recorded["code_token_offsets"] == list(tokenizer.code_token_offsets)
    assert recorded["level_sizes"] == list(SIZES)


def test_save_and_load_keep_everything(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    loaded = SidTokenizer.load(tmp_path)
    for text in (*TEXTS, "<a_5> unseen <item>"):
        assert loaded.encode_text(text) == tokenizer.encode_text(text)
    assert loaded.code_token_offsets == tokenizer.code_token_offsets
    assert (loaded.pad_id, loaded.eos_id) == (tokenizer.pad_id, tokenizer.eos_id)


def test_training_twice_gives_the_same_bytes(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "one")
    SidTokenizer.train(TEXTS, 320, SIZES, 2, MARKERS).save(tmp_path / "two")
    for file in (tmp_path / "one").iterdir():
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes()


def test_an_extended_tokenizer_keeps_its_own_ids():
    plain = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(BPE({"r": 0, "e": 1, "re": 2, "</s>": 3}, [("r", "e")])),
        eos_token="</s>",
    )
    extended = SidTokenizer.extend(plain, (3, 2), 1, ("<query>",))
    assert extended.encode_text("rere") == [2, 2]
    assert extended.pad_id == extended.eos_id == 3
    assert extended.code_token_offsets == (5, 8)
    with pytest.raises(ValueError, match="without our code and marker tokens"):
        SidTokenizer.extend(plain, (3, 2), 1, ("<query>",))


def test_a_folder_without_code_tokens_is_refused(tokenizer, tmp_path):
    with pytest.raises(FormatError, match=r"no tokenizer_config\.json"):
        SidTokenizer.load(tmp_path)
    tokenizer.hf.save_pretrained(tmp_path)
    with pytest.raises(FormatError, match="no code tokens"):
        SidTokenizer.load(tmp_path)


def test_a_vocabulary_smaller_than_the_bytes_is_refused():
    with pytest.raises(ValueError, match="vocab_size: expected at least 259, got 100"):
        SidTokenizer.train(TEXTS, 100, SIZES, 2, MARKERS)
