"""Small random-weight causal models of `transformers`, and its search over a prefix trie."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

MODEL_TYPES = ("qwen3", "qwen2", "llama")


def random_model(
    model_type: str,
    vocab_size: int,
    *,
    seed: int = 0,
    hidden_size: int = 48,
    num_layers: int = 3,
    num_heads: int = 6,
    num_kv_heads: int = 2,
    head_dim: int = 16,
    intermediate_size: int = 96,
    max_positions: int = 128,
    spread: float = 0.2,
    **config: Any,
) -> torch.nn.Module:
    """A `transformers` causal language model whose logits are far from uniform.

    Every weight is drawn with standard deviation `spread`, norms around 1 and biases included, so
    that a forgotten weight shows. `config` goes to the model's config as it is.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    settings = AutoConfig.for_model(
        model_type,
        vocab_size=vocab_size,
        hidden_size=hidden_size,
        num_hidden_layers=num_layers,
        num_attention_heads=num_heads,
        num_key_value_heads=num_kv_heads,
        head_dim=head_dim,
        intermediate_size=intermediate_size,
        max_position_embeddings=max_positions,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=0,
        **config,
    )
    from_config: Callable[..., torch.nn.Module] = AutoModelForCausalLM.from_config
    model = from_config(settings, dtype=torch.float32).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            noise = spread * torch.randn(weight.shape, generator=generator)
            weight.copy_(noise + 1 if "norm" in name else noise)
    return model


def generate_with_transformers(
    model: torch.nn.Module,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    num_beams: int,
    num_levels: int,
    **constraint: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens [batch, beam, level] and summed log-probabilities [batch, beam] of `model.generate`.

    `constraint` is `prefix_allowed_tokens_fn=...` or `logits_processor=...`. Beams that
    `transformers` fills up with have scores below -1e8.
    """
    generate: Callable[..., Any] = model.generate  # type: ignore[assignment]
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
        return_dict_in_generate=True,
        output_scores=True,
        output_logits=True,
        **constraint,
    )
    batch = len(input_ids)
    tokens = out.sequences[:, input_ids.shape[1] :].view(batch, num_beams, num_levels)
    if num_beams > 1:
        return tokens, out.sequences_scores.view(batch, num_beams)
    log_probs = torch.stack(out.logits, dim=1).float().log_softmax(-1)
    chosen = log_probs.gather(2, tokens.view(batch, num_levels, 1))
    return tokens, chosen.sum(1)


def prefix_trie(
    codes: Any, code_token_offsets: tuple[int, ...], prompt_length: int
) -> Callable[[int, torch.Tensor], list[int]]:
    """`prefix_allowed_tokens_fn` over the SIDs of `codes` [n, level], by a dictionary."""
    children: dict[tuple[int, ...], set[int]] = {}
    for row in codes.tolist():
        path = [code + offset for code, offset in zip(row, code_token_offsets, strict=True)]
        for level, token in enumerate(path):
            children.setdefault(tuple(path[:level]), set()).add(token)
    allowed = {prefix: sorted(tokens) for prefix, tokens in children.items()}
    return lambda _batch, ids: allowed[tuple(ids[prompt_length:].tolist())]
