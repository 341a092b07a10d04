"""Modules over semantic IDs: by hand, by gradients, and as prompts that are trained and served."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import onesearch_fast as osf
from onesearch_fast.errors import FormatError
from onesearch_fast.nn import HISTORIES, LongHistoryQFormer, SidEmbedding, insert_vectors
from onesearch_fast.testing.random_models import random_model

SIZES = (6, 4)
CODES = torch.tensor([[[0, 1], [5, 3], [-1, -1]], [[2, 0], [-1, -1], [-1, -1]]])


def test_a_sid_is_the_sum_of_its_rows() -> None:
    torch.manual_seed(0)
    module = SidEmbedding(SIZES, 5)
    rows = module.weight.detach()
    assert torch.equal(module(CODES[0, :2]), torch.stack([rows[0] + rows[7], rows[5] + rows[9]]))
    expected = torch.stack([rows[0] + rows[7] + rows[5] + rows[9], rows[2] + rows[6]])
    torch.testing.assert_close(module(CODES), expected)
    full = torch.tensor([[[0, 1], [5, 3], [1, 1]], [[2, 0], [3, 3], [0, 0]]])
    assert torch.equal(module(full, torch.tensor([2, 1])), module(CODES))
    means = SidEmbedding(SIZES, 5, "mean", max_positions=3)
    means.load_state_dict({"weight": rows, "positions": torch.eye(3, 5)})
    halves = torch.tensor([2.0, 1.0])[:, None]
    positions = torch.tensor([[1.0, 1, 0, 0, 0], [1, 0, 0, 0, 0]])
    torch.testing.assert_close(means(CODES), (expected + positions) / halves)


def test_embeddings_learn_rows_in_use_alone() -> None:
    module = SidEmbedding(SIZES, 5, max_positions=3)
    module(CODES).square().sum().backward()
    assert module.weight.grad is not None and module.positions is not None
    used = module.weight.grad.abs().sum(1) > 0
    assert used.nonzero().flatten().tolist() == [0, 2, 5, 6, 7, 9]
    assert module.positions.grad is not None and not module.positions.grad[2].any()


def test_embeddings_start_from_centroids() -> None:
    tables = [torch.randn(6, 5), torch.randn(4, 5)]
    module = SidEmbedding(SIZES, 5).start_from(tables)
    assert torch.equal(module(torch.tensor([[2, 3]]))[0], tables[0][2] + tables[1][3])
    with pytest.raises(ValueError, match="start_from: centroids"):
        module.start_from(tables[::-1])


def test_embeddings_refuse_what_is_out_of_place() -> None:
    module = SidEmbedding(SIZES, 5, max_positions=2)
    for codes, lengths, message in (
        (torch.tensor([[6, 0]]), None, "codes: expected -1 or a number less than 6"),
        (torch.tensor([0]), None, r"codes: expected \[item, level\]"),
        (CODES, None, "at most 2 slots"),
        (CODES[0], torch.tensor([1]), "with lengths"),
        (CODES, torch.tensor([4, 0]), "lengths"),
        (CODES, torch.tensor([1]), "lengths"),
    ):
        with pytest.raises(ValueError, match=message):
            module(codes, lengths)
    for arguments in (((), 5), ((0,), 5), (SIZES, 0)):
        with pytest.raises(ValueError, match="SidEmbedding"):
            SidEmbedding(*arguments)
    with pytest.raises(ValueError, match="max_positions"):
        SidEmbedding(SIZES, 5, max_positions=-1)


CENTROIDS = [torch.arange(12.0).reshape(6, 2), torch.tensor([[0.5, 0], [0, 0.5], [1, 1]])]
# Two users; clicks, orders and searches; up to two items of two levels, and a level of no use.
LONG = torch.tensor(
    [
        [[[0, 0, 9], [3, 2, 9]], [[3, 2, 9], [-1, -1, -1]], [[-1, -1, -1], [-1, -1, -1]]],
        [[[5, 1, 9], [5, 1, 9]], [[-1, -1, -1], [-1, -1, -1]], [[2, 0, 9], [-1, -1, -1]]],
    ]
)


@pytest.fixture
def former() -> LongHistoryQFormer:
    torch.manual_seed(1)
    return LongHistoryQFormer(CENTROIDS, hidden_size=48).eval()


def test_histories_are_summed_by_level(former: LongHistoryQFormer) -> None:
    sums = former.sums(LONG)
    assert sums.shape == (2, len(HISTORIES) * 2, 2)
    assert sums[0].tolist() == [[6, 8], [1.5, 1], [6, 7], [1, 1], [0, 0], [0, 0]]
    assert sums[1].tolist() == [[20, 22], [0, 1], [0, 0], [0, 0], [4, 5], [0.5, 0]]


def test_a_users_vectors_are_of_that_user(former: LongHistoryQFormer) -> None:
    together = former(LONG)
    assert together.shape == (2, 3, 48) and former.num_vectors == 3
    for user in range(2):
        torch.testing.assert_close(former(LONG[user : user + 1])[0], together[user])
    padded = torch.full((2, 3, 7, 3), -1)
    padded[:, :, :2] = LONG
    torch.testing.assert_close(former(padded), together)
    assert not torch.allclose(together[0], together[1])


def test_formers_are_saved_whole(former: LongHistoryQFormer, tmp_path: Path) -> None:
    path = tmp_path / "long_history.safetensors"
    former.save(path)
    again = LongHistoryQFormer.load(path).eval()
    assert torch.equal(again(LONG), former(LONG))
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(FormatError, match="long_history"):
        LongHistoryQFormer.load(path)
    with pytest.raises(ValueError, match="num_heads"):
        LongHistoryQFormer(CENTROIDS, 48, num_heads=5)
    with pytest.raises(ValueError, match=r"codes: expected \[user, 3, slot"):
        former(LONG[:, :2])


def test_trained_prompts_are_served_prompts(former: LongHistoryQFormer) -> None:
    """Vectors in a prompt give the same scores in a training forward and in the engine."""
    sizes, offset, vocab = (5, 4), 20, 40
    model = random_model("qwen3", vocab)
    trie = osf.SidTrie.build([[i, j] for i in range(5) for j in range(4)], sizes)
    engine = osf.Engine.from_pretrained(
        model, trie, dtype="float32", code_token_offsets=[offset, offset + 5]
    )
    tokens = torch.tensor([[1, 0, 0, 0, 7, 9], [1, 5, 6, 7, 8, 3]])
    places = torch.zeros_like(tokens, dtype=torch.bool)
    places[0, 1:4] = True
    vectors = former(LONG)
    prompt = insert_vectors(model.get_input_embeddings()(tokens), places, vectors[:1])
    assert torch.equal(prompt[0, 1:4], vectors[0]) and prompt.requires_grad
    codes = torch.tensor([[[3, 1]], [[0, 2]]])
    target = codes[:, 0] + torch.tensor([offset, offset + 5])
    embeddings = torch.cat([prompt, model.get_input_embeddings()(target)], 1)
    logits = model(inputs_embeds=embeddings).logits[:, -3:-1]
    log_probs = logits.log_softmax(-1).gather(2, target[:, :, None]).sum((1, 2))
    served = engine.score(None, codes, normalizer="vocab", prompt_embeds=prompt.detach())
    torch.testing.assert_close(served[:, 0], log_probs.detach(), atol=1e-4, rtol=1e-5)
    plain = engine.score(tokens, codes, normalizer="vocab")
    torch.testing.assert_close(plain[1], served[1], atol=1e-4, rtol=1e-5)
    assert abs(float(plain[0] - served[0])) > 1e-4
    log_probs.sum().backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in (former.queries, former.kind))
    with pytest.raises(ValueError, match="3 places in 2 rows"):
        insert_vectors(prompt, places.roll(1, 0) | (tokens == 9), vectors)
