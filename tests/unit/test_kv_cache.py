"""Keys and values that stay where they were made, against copies made for every beam."""

from __future__ import annotations

import pytest
import torch

from onesearch_fast.engine.kv_cache import BeamAttention, BeamKV, ContextKV, EncoderAttention
from onesearch_fast.models import DecoderModel, load_model
from onesearch_fast.testing.random_models import random_model

LENGTHS = (9, 4)
# parents[step][request][beam]
PARENTS = (
    ((0, 0, 0), (0, 0, 0)),
    ((2, 0, 0, 1), (1, 1, 2, 2)),
    ((3, 3), (0, 2)),
)


@pytest.fixture(scope="module")
def model() -> DecoderModel:
    return load_model(random_model("qwen3", 30))


def random_context(model: DecoderModel) -> ContextKV:
    context = ContextKV.empty(model, torch.tensor(LENGTHS), max(LENGTHS))
    for stored in (context.keys, context.values):
        stored.normal_()
        stored[:, 1, :, LENGTHS[1] :] = torch.nan
    return context


def attention_by_hand(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor
) -> torch.Tensor:
    """One beam in float64: query [head, head_dim], keys and values [key, kv_head, head_dim]."""
    group = query.shape[0] // keys.shape[1]
    keys, values = (one.double().repeat_interleave(group, dim=1) for one in (keys, values))
    scores = torch.einsum("hd,khd->hk", query.double(), keys) / query.shape[1] ** 0.5
    return torch.einsum("hk,khd->hd", scores.softmax(-1), values).flatten().float()


def test_every_beam_sees_its_prompt_and_its_own_past(model: DecoderModel) -> None:
    torch.manual_seed(0)
    shape, layer = model.shape, 1
    context = random_context(model)
    prompts = [
        (
            context.keys[layer, b, :, :n].transpose(0, 1),
            context.values[layer, b, :, :n].transpose(0, 1),
        )
        for b, n in enumerate(LENGTHS)
    ]
    beams = BeamKV(model, batch=2, num_steps=len(PARENTS), num_beams=4)
    # The keys and values of each beam, copied whenever it is re-parented.
    seen = [[prompt] for prompt in prompts]
    for parents in PARENTS:
        width = len(parents[0])
        query = torch.randn(2, width, shape.num_heads, shape.head_dim)
        key, value = torch.randn(2, 2, width, shape.num_kv_heads, shape.head_dim)
        beams.branch(torch.tensor(parents))
        mixed = BeamAttention(context, None, beams)(layer, query, key, value)
        seen = [
            [
                tuple(
                    torch.cat((old, new[b, w : w + 1]))
                    for old, new in zip(seen[b][p], (key, value), strict=True)
                )
                for w, p in enumerate(parents[b])
            ]
            for b in range(2)
        ]
        for b in range(2):
            for w in range(width):
                torch.testing.assert_close(mixed[b, w], attention_by_hand(query[b, w], *seen[b][w]))


def test_an_encoder_sees_all_of_a_prompt_and_no_padding(model: DecoderModel) -> None:
    torch.manual_seed(0)
    shape = model.shape
    query = torch.randn(2, 9, shape.num_heads, shape.head_dim)
    key, value = torch.randn(2, 2, 9, shape.num_kv_heads, shape.head_dim)
    key[1, LENGTHS[1] :] = torch.nan
    mixed = EncoderAttention(torch.tensor(LENGTHS))(0, query, key, value)
    for b, length in enumerate(LENGTHS):
        for token in range(length):
            expected = attention_by_hand(query[b, token], key[b, :length], value[b, :length])
            torch.testing.assert_close(mixed[b, token], expected)
