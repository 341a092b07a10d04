"""Random-weight models of `transformers` of any size, and its search over a prefix trie."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

MODEL_TYPES = ("qwen3", "qwen2", "llama", "gpt2", "bart", "mbart")


@dataclass(frozen=True)
class ModelSize:
    """The sizes of a model; those that an architecture does not have are left unread."""

    hidden_size: int = 48
    num_layers: int = 3
    num_heads: int = 6
    num_kv_heads: int = 2
    head_dim: int = 16
    intermediate_size: int = 96
    max_positions: int = 128


# 29M parameters with a vocabulary of 10,000, 0.14B with one of 56,000.
QWEN3_29M = ModelSize(512, 8, 8, 4, 64, 1408, 4096)
GPT2_29M = ModelSize(512, 8, 8, 8, 64, 1792, 4096)
BART_BASE = ModelSize(768, 6, 12, 12, 64, 3072, 2048)


def _llama_config(size: ModelSize) -> dict[str, Any]:
    return {
        "hidden_size": size.hidden_size,
        "num_hidden_layers": size.num_layers,
        "num_attention_heads": size.num_heads,
        "num_key_value_heads": size.num_kv_heads,
        "head_dim": size.head_dim,
        "intermediate_size": size.intermediate_size,
        "max_position_embeddings": size.max_positions,
    }


def _gpt2_config(size: ModelSize) -> dict[str, Any]:
    return {
        "n_embd": size.hidden_size,
        "n_layer": size.num_layers,
        "n_head": size.num_heads,
        "n_inner": size.intermediate_size,
        "n_positions": size.max_positions,
    }


def _bart_config(size: ModelSize) -> dict[str, Any]:
    halves = {
        f"{half}_{name}": value
        for half in ("encoder", "decoder")
        for name, value in (
            ("layers", size.num_layers),
            ("attention_heads", size.num_heads),
            ("ffn_dim", size.intermediate_size),
        )
    }
    return halves | {
        "d_model": size.hidden_size,
        "max_position_embeddings": size.max_positions,
        "decoder_start_token_id": 2,
        "forced_eos_token_id": None,
    }


_CONFIGS = {"gpt2": _gpt2_config, "bart": _bart_config, "mbart": _bart_config}


def random_model(
    model_type: str,
    vocab_size: int,
    *,
    seed: int = 0,
    size: ModelSize = ModelSize(),
    spread: float = 0.2,
    device: str = "cpu",
    **config: Any,
) -> torch.nn.Module:
    """A `transformers` language model in float32 whose logits are far from uniform.

    Every weight is drawn with standard deviation `spread`, norms around 1 and biases included, so
    that a forgotten weight shows; a GPU draws others than a CPU. `config` replaces fields of
    `size`, and what it does not have goes to the model's config as it is.
    """
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM

    size = replace(size, **{key: config.pop(key) for key in asdict(size) if key in config})
    sizes = _CONFIGS.get(model_type, _llama_config)(size)
    tokens = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": 0}
    settings = AutoConfig.for_model(
        model_type, **{"vocab_size": vocab_size, **sizes, **tokens, **config}
    )
    auto = AutoModelForSeq2SeqLM if settings.is_encoder_decoder else AutoModelForCausalLM
    from_config: Callable[..., torch.nn.Module] = auto.from_config
    with torch.device(device):
        model = from_config(settings, dtype=torch.float32).eval()
    _randomise(model, spread, torch.Generator(device).manual_seed(seed))
    return model


def _randomise(model: torch.nn.Module, spread: float, generator: torch.Generator) -> None:
    weights: dict[str, torch.Tensor] = dict(model.named_parameters())
    # BART's bias of the logits is no parameter, but a weight all the same.
    weights |= {name: buffer for name, buffer in model.named_buffers() if name.endswith("bias")}
    with torch.no_grad():
        for name, weight in weights.items():
            around_one = ("norm" in name or ".ln_" in name) and name.endswith("weight")
            drawn = torch.randn(weight.shape, generator=generator, device=weight.device)
            noise = spread * drawn
            weight.copy_(noise + 1 if around_one else noise)


def generate_with_transformers(
    model: torch.nn.Module,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    num_beams: int,
    num_levels: int,
    decoder_prefix_ids: Sequence[int] = (),
    **constraint: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens [batch, beam, level] and summed log-probabilities [batch, beam] of `model.generate`.

    `constraint` is `prefix_allowed_tokens_fn=...` or `logits_processor=...`;
    `decoder_prefix_ids` are the start tokens of an encoder-decoder. A model's own generation
    defaults are switched off. Beams that `transformers` fills up with have scores below -1e8.
    """
    generate: Callable[..., Any] = model.generate  # type: ignore[assignment]
    batch, start = len(input_ids), torch.tensor(decoder_prefix_ids, device=input_ids.device)
    if decoder_prefix_ids:
        constraint["decoder_input_ids"] = start.expand(batch, -1)
    out = generate(
        input_ids=input_ids,
        attention_mask=attention_mask,
        num_beams=num_beams,
        num_return_sequences=num_beams,
        length_penalty=0.0,
        min_new_tokens=num_levels,
        max_new_tokens=num_levels,
        do_sample=False,
        eos_token_id=None,
        forced_bos_token_id=None,
        forced_eos_token_id=None,
        no_repeat_ngram_size=0,
        early_stopping=False,
        return_dict_in_generate=True,
        output_scores=True,
        output_logits=True,
        **constraint,
    )
    begin = len(start) if decoder_prefix_ids else input_ids.shape[1]
    tokens = out.sequences[:, begin:].view(batch, num_beams, num_levels)
    if num_beams > 1:
        return tokens, out.sequences_scores.view(batch, num_beams)
    log_probs = torch.stack(out.logits, dim=1).float().log_softmax(-1)
    chosen = log_probs.gather(2, tokens.view(batch, num_levels, 1))
    return tokens, chosen.sum(1)


def prefix_trie(
    codes: Any, code_token_offsets: tuple[int, ...], prompt_length: int
) -> Callable[[int, torch.Tensor], list[int]]:
    """`prefix_allowed_tokens_fn` over the SIDs of `codes` [n, level], by a dictionary.

    prompt_length: tokens before the first code; of an encoder-decoder, the decoder's start tokens.
    """
    children: dict[tuple[int, ...], set[int]] = {}
    for row in codes.tolist():
        path = [code + offset for code, offset in zip(row, code_token_offsets, strict=True)]
        for level, token in enumerate(path):
            children.setdefault(tuple(path[:level]), set()).add(token)
    allowed = {prefix: sorted(tokens) for prefix, tokens in children.items()}
    return lambda _batch, ids: allowed[tuple(ids[prompt_length:].tolist())]
