"""Served architectures: the numbers of `transformers`, packed weights, checkpoints good and bad."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from onesearch_fast.engine.decoding import prefill
from onesearch_fast.engine.prompt_batch import PromptBatch
from onesearch_fast.errors import FormatError
from onesearch_fast.models import (
    DecoderModel,
    layers,
    linear,
    load_model,
    model_types,
    read_checkpoint,
    weight_bytes,
)
from onesearch_fast.models.activations import read_activation
from onesearch_fast.models.config import ConfigReader
from onesearch_fast.testing.random_models import MODEL_TYPES, random_model

VOCAB = 90


def last_logits(model: DecoderModel, prompts: list[list[int]]) -> torch.Tensor:
    """Logits over the whole vocabulary after each prompt, [batch, vocab]."""
    batch = PromptBatch.make(model, prompts, None, None, 0)
    with torch.inference_mode():
        return model.logits(prefill(model, batch).hidden, 0, VOCAB)[:, 0].float()


def expected_logits(
    module: torch.nn.Module, prompts: list[list[int]], prefix: tuple[int, ...] = (2,)
) -> torch.Tensor:
    start = {"decoder_input_ids": torch.tensor([prefix])} if is_encoder_decoder(module) else {}
    with torch.no_grad():
        logits = [module(input_ids=torch.tensor([ids]), **start).logits for ids in prompts]
    return torch.stack([of_prompt[0, -1].float() for of_prompt in logits])


def is_encoder_decoder(module: torch.nn.Module) -> bool:
    return bool(module.config.is_encoder_decoder)  # type: ignore[union-attr]


PROMPTS = [[5, 3, 88, 0, 41], [7], list(range(60)), [9, 9]]

# An option of an architecture that changes what it computes is set in one of these.
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("qwen3", {"attention_bias": True}),
    ("qwen3", {"tie_word_embeddings": True}),
    ("qwen2", {}),
    ("llama", {"attention_bias": True, "mlp_bias": True}),
    ("llama", {"num_heads": 3, "num_kv_heads": 3, "rope_theta": 500.0}),
    ("gpt2", {}),
    ("gpt2", {"n_inner": None, "tie_word_embeddings": False, "layer_norm_epsilon": 0.1}),
    ("bart", {}),
    ("bart", {"scale_embedding": True, "encoder_layers": 2, "decoder_ffn_dim": 40}),
    ("bart", {"encoder_attention_heads": 4, "decoder_attention_heads": 3}),
    ("mbart", {"activation_function": "relu"}),
    ("mbart", {"scale_embedding": True, "decoder_layers": 1}),
]


@pytest.mark.parametrize("fused", ["into products", "after products"])
@pytest.mark.parametrize(("model_type", "config"), VARIANTS)
def test_logits_equal_those_of_transformers(
    model_type: str, config: dict[str, Any], fused: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sums, norms and gates are fused either as on a CPU or as on a GPU."""
    monkeypatch.setattr(layers, "ends_in_products", lambda device: fused == "into products")
    module = random_model(model_type, VOCAB, **config)
    got = last_logits(load_model(module), PROMPTS)
    torch.testing.assert_close(got, expected_logits(module, PROMPTS), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "name",
    ["gelu", "gelu_new", "gelu_fast", "gelu_python", "gelu_accurate", "quick_gelu", "relu", "silu"],
)
def test_activations_are_those_of_transformers(name: str) -> None:
    from transformers.activations import ACT2FN

    activation = read_activation(ConfigReader("test", {"act": name}), "act", "gelu")
    x, weight, bias = torch.randn(64, 40), torch.randn(50, 40), torch.randn(50)
    expected = ACT2FN[name](torch.nn.functional.linear(x, weight, bias))
    got = linear.linear(x, weight, bias, activation)
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(activation.function(x), ACT2FN[name](x), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("model_type", ["qwen3", "gpt2", "bart", "mbart"])
def test_bfloat16_is_as_close_to_float32_as_that_of_transformers(model_type: str) -> None:
    module = random_model(model_type, VOCAB)
    exact = expected_logits(module, PROMPTS)
    ours = last_logits(load_model(module, torch.bfloat16), PROMPTS)
    theirs = expected_logits(module.to(torch.bfloat16), PROMPTS)
    assert (ours - exact).square().mean() < 1.5 * (theirs - exact).square().mean()


@pytest.mark.parametrize("model_type", ["qwen3", "bart"])
def test_logits_of_a_range_are_a_slice_of_all(model_type: str) -> None:
    model = load_model(random_model(model_type, VOCAB))
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


@pytest.mark.parametrize(
    ("model_type", "tied"),
    [("qwen3", False), ("qwen3", True), ("gpt2", False), ("gpt2", True), ("bart", True)],
)
def test_a_folder_gives_what_its_module_gives(tmp_path: Path, model_type: str, tied: bool) -> None:
    module = random_model(model_type, VOCAB, tie_word_embeddings=tied)
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
        ({"num_hidden_layers": 4, "layer_types": None}, "tensors layers.3"),
        ({"num_hidden_layers": 2, "layer_types": None}, "got layers.2"),
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


def save_as(
    module: torch.nn.Module, folder: Path, rename: Callable[[str], str], **added: torch.Tensor
) -> None:
    """Saves a module under other names; what is renamed to "" is left out."""
    module.save_pretrained(folder)
    tensors = load_file(folder / "model.safetensors")
    renamed = {rename(name): tensor for name, tensor in tensors.items()} | added
    renamed.pop("", None)
    save_file(renamed, folder / "model.safetensors")


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_names_may_lack_the_prefix_of_the_head(tmp_path: Path, model_type: str) -> None:
    """As checkpoints of the model below the head have them."""
    module = random_model(model_type, VOCAB, tie_word_embeddings=True)
    prefix = "transformer." if model_type == "gpt2" else "model."
    save_as(module, tmp_path, lambda name: name.removeprefix(prefix))
    assert torch.equal(
        last_logits(load_model(tmp_path), PROMPTS), last_logits(load_model(module), PROMPTS)
    )


def test_masks_of_older_gpt2_checkpoints_are_left_out(tmp_path: Path) -> None:
    module = random_model("gpt2", VOCAB)
    masks = {"h.0.attn.bias": torch.ones(1, 1, 9, 9), "h.0.attn.masked_bias": torch.tensor(-1e4)}
    save_as(module, tmp_path, lambda name: name.removeprefix("transformer."), **masks)
    got = last_logits(load_model(tmp_path), PROMPTS)
    torch.testing.assert_close(got, expected_logits(module, PROMPTS), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("model_type", "kept", "alias"),
    [
        ("qwen3", "model.embed_tokens.weight", "lm_head.weight"),
        ("gpt2", "transformer.wte.weight", "lm_head.weight"),
        ("bart", "model.shared.weight", "model.decoder.embed_tokens.weight"),
        ("bart", "model.shared.weight", "lm_head.weight"),
    ],
)
def test_a_tied_table_may_stand_under_any_of_its_names(
    tmp_path: Path, model_type: str, kept: str, alias: str
) -> None:
    module = random_model(model_type, VOCAB, tie_word_embeddings=True)
    expected = last_logits(load_model(module), PROMPTS)
    save_as(module, tmp_path / "alias", lambda name: alias if name == kept else name)
    assert torch.equal(last_logits(load_model(tmp_path / "alias"), PROMPTS), expected)
    # Where both are there, the table's own name is the one to believe, as transformers does.
    stale = {alias: torch.zeros(VOCAB, 48)}
    save_as(module, tmp_path / "both", lambda name: name, **stale)
    assert torch.equal(last_logits(load_model(tmp_path / "both"), PROMPTS), expected)


def test_bart_without_a_bias_of_its_logits(tmp_path: Path) -> None:
    module = random_model("bart", VOCAB)
    save_as(module, tmp_path, lambda name: "" if name == "final_logits_bias" else name)
    biased = last_logits(load_model(module), PROMPTS)
    got = last_logits(load_model(tmp_path), PROMPTS)
    torch.testing.assert_close(got + module.final_logits_bias[0], biased)


@pytest.mark.parametrize(
    ("config", "generation", "expected"),
    [
        ({}, {}, (2,)),
        ({}, {"forced_bos_token_id": 0}, (2, 0)),
        ({}, {"decoder_start_token_id": 5}, (5,)),
        ({"decoder_prefix_ids": [4, 1, 3]}, {"forced_bos_token_id": 0}, (4, 1, 3)),
    ],
)
def test_where_the_start_tokens_of_a_decoder_come_from(
    tmp_path: Path, config: dict[str, Any], generation: dict[str, Any], expected: tuple[int, ...]
) -> None:
    module = random_model("bart", VOCAB, **config)
    module.generation_config.update(**generation)  # type: ignore[operator, union-attr]
    module.save_pretrained(tmp_path)
    for source in (module, tmp_path):
        model = load_model(source)
        assert model.decoder_prefix_ids == expected
        torch.testing.assert_close(
            last_logits(model, PROMPTS), expected_logits(module, PROMPTS, expected)
        )


@pytest.mark.parametrize("ids", [None, [], [VOCAB], [-1], ["</s>"]])
def test_a_decoder_without_start_tokens_is_refused(tmp_path: Path, ids: Any) -> None:
    random_model("bart", VOCAB).save_pretrained(tmp_path)
    (tmp_path / "generation_config.json").unlink()
    edit_config(tmp_path, decoder_start_token_id=None, decoder_prefix_ids=ids)
    with pytest.raises(ValueError, match="decoder_prefix_ids"):
        load_model(tmp_path)


@pytest.mark.parametrize(
    ("model_type", "changes", "named"),
    [
        ("gpt2", {"scale_attn_weights": False}, "scale_attn_weights"),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx"),
        ("gpt2", {"add_cross_attention": True}, "add_cross_attention"),
        ("gpt2", {"activation_function": "mish"}, "activation_function"),
        ("gpt2", {"n_head": 5}, "n_head"),
        ("gpt2", {"n_inner": 97}, r"mlp\.c_fc"),
        ("gpt2", {"n_positions": 64}, "wpe.weight"),
        ("bart", {"tie_word_embeddings": False}, "tie_word_embeddings"),
        ("bart", {"encoder_attention_heads": 5}, "encoder_attention_heads"),
        ("bart", {"max_position_embeddings": True}, "max_position_embeddings"),
        ("bart", {"encoder_layers": 2}, "got encoder.layers.2"),
        ("bart", {"model_type": "mbart"}, "encoder.layer_norm.bias"),
    ],
)
def test_what_gpt2_and_bart_are_not_served_with_is_refused_by_name(
    tmp_path: Path, model_type: str, changes: dict[str, Any], named: str
) -> None:
    random_model(model_type, VOCAB).save_pretrained(tmp_path)
    edit_config(tmp_path, **changes)
    with pytest.raises(ValueError, match=named):
        load_model(tmp_path)


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


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_the_bytes_of_weights_are_known_before_they_are_loaded(
    model_type: str, dtype: torch.dtype
) -> None:
    """Those of the parameters, a tied one once, and of what stands once where they repeat it."""
    module = random_model(model_type, VOCAB, tie_word_embeddings=True)
    config = read_checkpoint(module).config
    model = load_model(module, dtype)
    assert weight_bytes(config, dtype) == model.nbytes
    numbers = sum(parameter.numel() for parameter in module.parameters())
    assert numbers <= model.nbytes / dtype.itemsize < 1.02 * numbers


def test_the_families_are_registered() -> None:
    assert set(MODEL_TYPES) == set(model_types())


@pytest.mark.parametrize("onednn", [False, True])
def test_products_by_either_kernel(onednn: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not onednn:
        monkeypatch.setattr(linear, "_onednn", None)
    torch.manual_seed(0)
    x, weight, bias, residual = (torch.randn(*s) for s in ((7, 5), (3, 5), (3,), (7, 3)))
    product = x.double() @ weight.double().T
    for given in (None, bias):
        expected = product if given is None else product + bias.double()
        torch.testing.assert_close(linear.linear(x, weight, given), expected.float())
        summed = linear.linear_add(x, weight, given, residual)
        torch.testing.assert_close(summed, (expected + residual).float())
        multiplied = linear.linear_mul(x, weight, given, residual)
        torch.testing.assert_close(multiplied, (expected * residual).float())
