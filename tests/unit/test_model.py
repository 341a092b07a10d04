import numpy as np
import pytest
import torch

from onesearch_fast.data.tokenizer import SidTokenizer
from onesearch_fast.train.config import ModelConfig
from onesearch_fast.train.model import catalogue_rows, new_model

# Two groups of two items: the first code tells the group, the second the item inside it.
TEXTS = ["red dress", "red skirt", "blue boots", "blue sandals"]
CODES = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], dtype=np.int32)
VECTORS = np.array(
    [[1, 0.5, 0, 0], [1, -0.5, 0, 0], [-1, 0.5, 0, 0], [-1, -0.5, 0, 0]], dtype=np.float32
)


@pytest.fixture(scope="module")
def tokenizer() -> SidTokenizer:
    return SidTokenizer.train(TEXTS * 4, 320, (2, 2), 2, ("<item>",))


def test_words_and_codes_of_the_same_items_begin_alike(tokenizer):
    rows = catalogue_rows(tokenizer, TEXTS, VECTORS, CODES, width=4)

    def alike(text: str, level: int, code: int) -> float:
        (token,) = tokenizer.encode_text(text)
        other = tokenizer.code_token_offsets[level] + code
        return float(torch.cosine_similarity(rows[token], rows[other], dim=0))

    assert alike("red", 0, 0) == pytest.approx(1.0, abs=1e-4)
    assert alike("red", 0, 1) == pytest.approx(-1.0, abs=1e-4)
    assert alike("blue", 0, 1) == pytest.approx(1.0, abs=1e-4)
    # The second code says what the first has left open, so it knows nothing of red and blue.
    assert alike("red", 1, 0) == pytest.approx(0.0, abs=1e-4)
    assert alike("dress", 1, 0) > 0.3 > -0.3 > alike("skirt", 1, 0)


def test_rows_have_mean_square_one_and_unknown_tokens_none(tokenizer):
    rows = catalogue_rows(tokenizer, TEXTS, VECTORS, CODES, width=6)
    (known,) = tokenizer.encode_text("red")
    assert rows[known].square().mean() == pytest.approx(1.0, abs=1e-4)
    assert rows[tokenizer.marker_id("<item>")].abs().max() == 0.0
    assert torch.isfinite(rows).all()


def test_a_model_from_scratch_is_the_same_for_the_same_seed(tokenizer):
    config = ModelConfig(hidden_size=16, num_layers=1, head_dim=8, intermediate_size=32)

    def weight(seed: int, **changes: bool) -> torch.Tensor:
        chosen = ModelConfig(**{**vars(config), **changes})
        model = new_model(chosen, tokenizer, TEXTS, VECTORS, CODES, seed)
        return model.get_input_embeddings().weight

    assert torch.equal(weight(0), weight(0))
    assert not torch.equal(weight(0), weight(1))
    rows = catalogue_rows(tokenizer, TEXTS, VECTORS, CODES, width=16)
    difference = weight(0) - weight(0, catalogue_start=False)
    torch.testing.assert_close(difference, 0.04 * rows, atol=1e-6, rtol=1e-4)
