"""Models whose products are of 8 bits: near the exact ones, half the memory, the same bits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

import onesearch_fast as osf
from onesearch_fast.models import load_model, read_checkpoint, weight_bytes
from onesearch_fast.models.int8_weight import Int8Weight
from onesearch_fast.ops import int8_linear, pack_int8_weight
from onesearch_fast.testing import random_codes
from onesearch_fast.testing.random_models import MODEL_TYPES, ModelSize, random_model

SIZES, OFFSETS, VOCAB = (12, 10, 9, 8), (50, 62, 72, 81), 95
SIZE = ModelSize(hidden_size=64, num_heads=4, num_kv_heads=2, head_dim=16)
PROMPTS = [[5, 9, 1, 30, 2, 2], [7], [49, 0, 3, 11, 12, 13, 14, 15, 16, 17, 18], [8, 8, 8]]
TRIE = osf.SidTrie.build(random_codes(400, SIZES, seed=6, skew=0.9), SIZES)


def model_of(model_type: str) -> torch.nn.Module:
    return random_model(model_type, VOCAB, size=SIZE)


def engine_of(module: torch.nn.Module, **options: Any) -> osf.Engine:
    return osf.Engine.from_pretrained(module, TRIE, code_token_offsets=OFFSETS, **options)


def rounded(module: torch.nn.Module) -> torch.nn.Module:
    """The model with the numbers that 8 bits leave of the weights of its layers."""
    with torch.no_grad():
        for name, weight in module.named_parameters():
            in_layer = any(part.isdigit() for part in name.split("."))
            if weight.ndim == 2 and in_layer and "norm" not in name:
                rows = weight.t() if module.config.model_type == "gpt2" else weight
                scale = rows.abs().amax(1, keepdim=True) / 127
                rows.copy_((rows / scale).round() * scale)
    return module


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_scores_are_near_those_of_a_model_of_rounded_weights(model_type: str) -> None:
    module = model_of(model_type)
    got = engine_of(module, dtype="float32", quantization="int8")
    exact = engine_of(module, dtype="float32")
    codes = exact.generate(PROMPTS, num_beams=20).codes
    of_rounded = engine_of(rounded(module), dtype="float32").score(PROMPTS, codes)
    scores = got.score(PROMPTS, codes)
    error = (scores - of_rounded).abs().mean()
    assert 0 < error < 0.05 * (of_rounded.amax() - of_rounded.amin())


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_weights_of_layers_take_a_byte(model_type: str) -> None:
    module = model_of(model_type)
    half, narrow = (
        load_model(module, torch.bfloat16, quantization=quantization).nbytes
        for quantization in (None, "int8")
    )
    config = read_checkpoint(module).config
    assert weight_bytes(config, torch.bfloat16, "int8") == narrow
    outside = sum(
        weight.nbytes // 2
        for name, weight in module.named_parameters()
        if weight.ndim != 2 or not any(part.isdigit() for part in name.split("."))
    )
    assert narrow < outside + 0.6 * (half - outside) + 0.1 * half


def test_beams_do_not_depend_on_their_neighbours_or_threads() -> None:
    engine = engine_of(model_of("qwen3"), dtype="bfloat16", quantization="int8", deterministic=True)
    together = engine.generate(PROMPTS, num_beams=9)
    for row, prompt in enumerate(PROMPTS):
        alone = engine.generate([prompt], num_beams=9)
        assert torch.equal(alone.scores[0], together.scores[row])
        assert torch.equal(alone.codes[0], together.codes[row])


def test_an_update_rounds_the_new_weights() -> None:
    first, second = (random_model("gpt2", VOCAB, size=SIZE, seed=seed) for seed in (0, 1))
    engine = engine_of(first, dtype="float32", quantization="int8")
    engine.update_weights(second)
    expected = engine_of(second, dtype="float32", quantization="int8").generate(PROMPTS)
    got = engine.generate(PROMPTS)
    assert torch.equal(got.scores, expected.scores) and torch.equal(got.codes, expected.codes)


def test_a_memory_cap_counts_the_narrow_weights() -> None:
    def least_bytes(quantization: str | None) -> int:
        with pytest.raises(ValueError, match="max_memory_bytes") as error:
            engine_of(model_of("qwen3"), max_memory_bytes=1, quantization=quantization)
        return int(str(error.value).split("at least the ")[1].split()[0])

    assert least_bytes("int8") < least_bytes(None)


def test_what_cannot_be_rounded_is_refused() -> None:
    with pytest.raises(ValueError, match="quantization: expected None or int8, got int4"):
        engine_of(model_of("qwen3"), quantization="int4")
    odd = random_model("qwen3", VOCAB, size=replace(SIZE, intermediate_size=100))
    with pytest.raises(ValueError, match=r"quantization: .*multiples of 16, got 100"):
        engine_of(odd, quantization="int8")
    narrow_heads = random_model("qwen3", VOCAB, size=replace(SIZE, head_dim=4, num_kv_heads=2))
    with pytest.raises(ValueError, match=r"quantization: .*multiples of 16, got 8"):
        engine_of(narrow_heads, quantization="int8")
    with pytest.raises(ValueError, match="pack_int8_weight: weight"):
        pack_int8_weight(torch.zeros(16, 6))


def test_packed_weights_say_what_was_packed() -> None:
    weight = torch.randn(32, 20, generator=torch.Generator().manual_seed(0))
    weight[3] = 0
    packed, scale = pack_int8_weight(weight)
    unit = torch.eye(20)
    product = int8_linear(unit, packed, scale)
    torch.testing.assert_close(product.T, weight, atol=float(scale.max()) * 0.51, rtol=0)
    one = Int8Weight.allocate(32, 32, torch.device("cpu"))
    square = torch.cat((weight, weight[:, :12]), dim=1)
    one.t().copy_(square.t())
    assert torch.equal(one.packed, pack_int8_weight(square)[0])
