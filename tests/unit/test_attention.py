"""Shared-context attention against attention over keys and values expanded to every beam."""

from __future__ import annotations

import pytest
import torch

from onesearch_fast.engine import attention
from onesearch_fast.engine.attention import shared_context_attention
from onesearch_fast.engine.kv_cache import BeamKV
from onesearch_fast.models import DecoderModel, load_model
from onesearch_fast.testing.random_models import random_model


def expanded_attention(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    lengths: list[int],
    tail_key: torch.Tensor,
    tail_value: torch.Tensor,
) -> torch.Tensor:
    """One beam and head at a time, in float64, over the concatenation of context and tail."""
    batch, beams, heads, head_dim = query.shape
    group = heads // keys.shape[1]
    out = torch.empty(batch, beams, heads, head_dim, dtype=torch.float64)
    for b in range(batch):
        for w in range(beams):
            for h in range(heads):
                kv = h // group
                k = torch.cat((keys[b, kv, : lengths[b]], tail_key[b, w, :, kv])).double()
                v = torch.cat((values[b, kv, : lengths[b]], tail_value[b, w, :, kv])).double()
                weights = (k @ query[b, w, h].double() / head_dim**0.5).softmax(0)
                out[b, w, h] = weights @ v
    return out.flatten(2)


@pytest.mark.parametrize("chunk", [1, 300, 1 << 21])
@pytest.mark.parametrize("steps", [0, 1, 3])
def test_equals_attention_over_expanded_keys(
    chunk: int, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "_CHUNK_SCORES", chunk)
    torch.manual_seed(steps)
    lengths = [9, 4, 7]
    query = torch.randn(3, 5, 6, 8)
    keys, values = torch.randn(3, 2, 9, 8), torch.randn(3, 2, 9, 8)
    tail_key, tail_value = torch.randn(3, 5, steps, 2, 8), torch.randn(3, 5, steps, 2, 8)
    bias = torch.zeros(3, 9)
    for request, length in enumerate(lengths):
        bias[request, length:] = -torch.inf
    tail = (tail_key, tail_value) if steps else ()
    got = shared_context_attention(query, keys, values, bias, *tail)
    expected = expanded_attention(query, keys, values, lengths, tail_key, tail_value)
    torch.testing.assert_close(got, expected.float())


@pytest.fixture(scope="module")
def model() -> DecoderModel:
    return load_model(random_model("qwen3", 30))


def test_ancestry_finds_what_each_beam_made(model: DecoderModel) -> None:
    """Keys carry (step, beam) they were made at; the path of each beam is kept by hand."""
    parents = [
        [[0, 0, 0], [0, 0, 0]],
        [[2, 0, 0, 1], [1, 1, 2, 2]],
        [[3, 3, 0, 1], [0, 2, 1, 1]],
    ]
    kv = BeamKV(model, batch=2, num_steps=3, num_beams=4)
    paths: list[list[list[tuple[int, int]]]] = [[[]], [[]]]
    for step, rows in enumerate(parents):
        table = torch.tensor(rows)
        kv.branch(table)
        paths = [
            [[*(paths[b][p] if step else []), (step, w)] for w, p in enumerate(rows[b])]
            for b in range(2)
        ]
        marks = torch.zeros(2, table.shape[1], 2, 16)
        for b in range(2):
            for w in range(table.shape[1]):
                marks[b, w, :, 0], marks[b, w, :, 1] = b, step
                marks[b, w, :, 2] = w
        kv.store(1, marks, marks + 100)
        keys, values = kv.gather(1, kv.ancestors())
        assert torch.equal(values, keys + 100)
        for b in range(2):
            for w, path in enumerate(paths[b]):
                assert [(int(k[0, 1]), int(k[0, 2])) for k in keys[b, w]] == path
                assert (keys[b, w, :, :, 0] == b).all()
