"""Served architectures: the numbers of `transformers`, packed weights, checkpoints good and bad."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from onesearch_fast.engine.decoding import prefill
from onesearch_fast.engine.prompt_batch import PromptBatch
from onesearch_fast.errors import FormatError
from onesearch_fast.models import DecoderModel, linear, load_model, model_types, read_checkpoint
from onesearch_fast.testing.random_models import MODEL_TYPES, random_model

VOCAB = 90


def last_logits(model: DecoderModel, prompts: list[list[int]]) -> torch.Tensor:
    """Logits over the whole vocabulary after each prompt, [batch, vocab]."""
    batch = PromptBatch.make(model, prompts, None, None, 0)
    with torch.inference_mode():
        return model.logits(prefill(model, batch).hidden, 0, VOCAB)[:, 0].float()


def expected_logits(module: torch.nn.Module, prompts: list[list[int]]) -> torch.Tensor:
    with torch.no_grad():
        return torch.stack(
            [module(input_ids=torch.tensor([ids])).logits[0, -1].float() for ids in prompts]
        )


PROMPTS = [[5, 3, 88, 0, 41], [7], list(range(60)), [9, 9]]


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_logits_equal_those_of_transformers(model_type: str, tied: bool) -> None:
    bias = {} if model_type == "qwen2" else {"attention_bias": True}
    if model_type == "llama":
        bias["mlp_bias"] = True
    module = random_model(model_type, VOCAB, tie_word_embeddings=tied, **bias)
    got = last_logits(load_model(module), PROMPTS)
    torch.testing.assert_close(got, expected_logits(module, PROMPTS), atol=1e-4, rtol=1e-4)


def test_one_query_head_per_kv_head_and_another_rope_base() -> None:
    module = random_model("llama", VOCAB, num_heads=3, num_kv_heads=3, rope_theta=500.0)
    got = last_logits(load_model(module), PROMPTS)
    torch.testing.assert_close(got, expected_logits(module, PROMPTS), atol=1e-4, rtol=1e-4)


def test_bfloat16_is_as_close_to_float32_as_that_of_transformers() -> None:
    module = random_model("qwen3", VOCAB)
    exact = expected_logits(module, PROMPTS)
    ours = last_logits(load_model(module, torch.bfloat16), PROMPTS)
    theirs = expected_logits(module.to(torch.bfloat16), PROMPTS)
    assert (ours - exact).square().mean() < 1.5 * (theirs - exact).square().mean()


def test_logits_of_a_range_are_a_slice_of_all() -> None:
    model = load_model(random_model("qwen3", VOCAB))
    hidden = torch.randn(2, 3, 48)
    whole = model.logits(hidden, 0, VOCAB)
    torch.testing.assert_close(model.logits(hidden, 20, 31), whole[..., 20:31])


def test_the_module_stays_untouched_and_apart() -> None:
    module = random_model("qwen3", VOCAB)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    model = load_model(module)
    got = last_logits(model, PROMPTS)
    assert all(torch.equal(before[name], t) for name, t in module.state_dict().items())
    with torch.no_grad():
        for weight in module.parameters():
            weight.zero_()
    assert torch.equal(last_logits(model, PROMPTS), got)


@pytest.mark.parametrize("tied", [False, True])
def test_a_folder_gives_what_its_module_gives(tmp_path: Path, tied: bool) -> None:
    module = random_model("qwen3", VOCAB, tie_word_embeddings=tied)
    expected = last_logits(load_model(module), PROMPTS)
    module.save_pretrained(tmp_path / "one")
    module.save_pretrained(tmp_path / "sharded", max_shard_size="40KB")
    assert len(list((tmp_path / "sharded").glob("*.safetensors"))) > 1
    for folder in ("one", "sharded"):
        assert torch.equal(last_logits(load_model(tmp_path / folder), PROMPTS), expected)


def test_the_older_spelling_of_rope_settings(tmp_path: Path) -> None:
    module = random_model("llama", VOCAB, rope_theta=300.0)
    module.save_pretrained(tmp_path)
    edit_config(tmp_path, rope_parameters=None, rope_scaling=None, rope_theta=300.0)
    got = last_logits(load_model(tmp_path), PROMPTS)
    torch.testing.assert_close(got, expected_logits(module, PROMPTS), atol=1e-4, rtol=1e-4)


def edit_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in config.items() if v is not None}))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "model"
    random_model("qwen3", VOCAB).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"rope_parameters": {"rope_type": "yarn", "factor": 2.0}}, "rope_parameters"),
        (
            {"rope_parameters": None, "rope_scaling": {"type": "linear", "factor": 2}},
            "rope_scaling",
        ),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor"),
        ({"hidden_act": "gelu"}, "hidden_act"),
        ({"layer_types": ["sliding_attention"] * 3}, "layer_types"),
        ({"use_sliding_window": True}, "use_sliding_window"),
        ({"num_key_value_heads": 4}, "num_key_value_heads"),
        ({"hidden_size": None}, "hidden_size"),
        ({"head_dim": 15}, "head_dim"),
        ({"model_type": "mamba"}, "model_type"),
        ({"intermediate_size": 97}, "mlp.down_proj.weight"),
        ({"num_hidden_layers": 4, "layer_types": None}, "model.layers.3"),
        ({"num_hidden_layers": 2, "layer_types": None}, "model.layers.2"),
    ],
)
def test_what_is_not_served_is_refused_by_name(
    saved: Path, tmp_path: Path, changes: dict[str, Any], named: str
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(saved, folder)
    edit_config(folder, **changes)
    with pytest.raises(ValueError, match=named):
        load_model(folder)


def test_broken_folders_are_refused(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="allow_download"):
        load_model("no-such-owner/no-such-model")
    with pytest.raises(ValueError, match=r"config\.json"):
        (tmp_path / "weights").mkdir()
        shutil.copy(saved / "model.safetensors", tmp_path / "weights")
        load_model(tmp_path / "weights")
    with pytest.raises(ValueError, match=r"model\.safetensors"):
        (tmp_path / "config").mkdir()
        shutil.copy(saved / "config.json", tmp_path / "config")
        load_model(tmp_path / "config")
    shutil.copytree(saved, tmp_path / "cut")
    whole = (saved / "model.safetensors").read_bytes()
    (tmp_path / "cut" / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FormatError, match=r"model\.safetensors"):
        load_model(tmp_path / "cut")
    shutil.copytree(saved, tmp_path / "text")
    (tmp_path / "text" / "config.json").write_text("{")
    with pytest.raises(FormatError, match=r"config\.json"):
        load_model(tmp_path / "text")


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    random_model("qwen3", VOCAB).save_pretrained(tmp_path, max_shard_size="40KB")
    victim = sorted(tmp_path.glob("*.safetensors"))[1]
    victim.unlink()
    with pytest.raises(FormatError, match=victim.name):
        load_model(tmp_path)


@pytest.mark.parametrize("index", ["[]", "{}", '{"weight_map": {"a": "../x"}}', "{"])
def test_a_bad_index_is_refused(saved: Path, tmp_path: Path, index: str) -> None:
    shutil.copytree(saved, tmp_path / "model")
    (tmp_path / "model" / "model.safetensors.index.json").write_text(index)
    with pytest.raises(FormatError, match=r"index\.json"):
        load_model(tmp_path / "model")


def test_a_failed_load_changes_nothing() -> None:
    model = load_model(random_model("qwen3", VOCAB))
    before = last_logits(model, PROMPTS)
    with pytest.raises(ValueError, match="intermediate_size"):
        model.load(read_checkpoint(random_model("qwen3", VOCAB, intermediate_size=64)))
    with pytest.raises(ValueError, match="query_key_norm"):
        model.load(read_checkpoint(random_model("llama", VOCAB)))
    assert torch.equal(last_logits(model, PROMPTS), before)


def test_a_module_without_config_is_refused() -> None:
    with pytest.raises(TypeError, match=r"\.config"):
        load_model(torch.nn.Linear(2, 2))


def test_the_family_is_registered() -> None:
    assert set(MODEL_TYPES) <= set(model_types())


@pytest.mark.parametrize("onednn", [False, True])
def test_products_by_either_kernel(onednn: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not onednn:
        monkeypatch.setattr(linear, "_onednn", None)
    monkeypatch.setattr(linear, "_LOOP_FROM", 0)
    torch.manual_seed(0)
    x, weight, bias, residual = (torch.randn(*s) for s in ((7, 5), (3, 5), (3,), (7, 3)))
    product = x.double() @ weight.double().T
    for given in (None, bias):
        expected = product if given is None else product + bias.double()
        torch.testing.assert_close(linear.linear(x, weight, given), expected.float())
        summed = linear.linear_add(x, weight, given, residual)
        torch.testing.assert_close(summed, (expected + residual).float())
    a, b = torch.randn(4, 6, 9)[..., :5], torch.randn(4, 8, 5).transpose(1, 2)
    out = torch.empty(4, 6, 10)
    linear.batched_product(a, b, out[..., :8])
    torch.testing.assert_close(out[..., :8], (a.double() @ b.double()).float())
