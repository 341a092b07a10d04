"""The model a run begins with: from scratch, or a checkpoint whose vocabulary is extended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import (
    AutoModelForCausalLM,
    PreTrainedModel,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from onesearch_fast.data.tokenizer import SidTokenizer
from onesearch_fast.train.config import ModelConfig

_NEW_ROW_NOISE = 0.02  # of the embedding's own spread: equal rows would stay equal


def new_model(config: ModelConfig, tokenizer: SidTokenizer, seed: int) -> PreTrainedModel:
    """A Qwen3 decoder with random weights and tied embeddings; equal seeds give equal weights."""
    torch.manual_seed(seed)
    return Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=tokenizer.vocab_size,
            hidden_size=config.hidden_size,
            num_hidden_layers=config.num_layers,
            num_attention_heads=config.num_heads,
            num_key_value_heads=config.num_kv_heads,
            head_dim=config.head_dim,
            intermediate_size=config.intermediate_size,
            max_position_embeddings=4096,
            tie_word_embeddings=True,
            use_cache=False,
            bos_token_id=tokenizer.hf.bos_token_id,
            eos_token_id=tokenizer.eos_id,
            pad_token_id=tokenizer.pad_id,
        )
    )


def extended_model(
    config: ModelConfig,
    tokenizer: SidTokenizer,
    titles: Sequence[str],
    codes: npt.NDArray[np.int32],
    seed: int,
) -> Any:
    """`config.checkpoint` as a `transformers` model, with rows for the tokens that were added.

    A code's row begins as the mean of the text rows in the titles of the items that have the code;
    a code without items, and every marker, as the mean of all text rows. Each gets a little noise.
    """
    torch.manual_seed(seed)
    model: Any = AutoModelForCausalLM.from_pretrained(
        str(config.checkpoint), dtype=torch.float32, local_files_only=True
    )
    model.resize_token_embeddings(max(tokenizer.vocab_size, model.config.vocab_size))
    # A set, because tied embeddings are one parameter.
    for rows in {model.get_input_embeddings().weight, model.get_output_embeddings().weight}:
        _fill_new_rows(rows.data, tokenizer, titles, codes)
    return model


def _fill_new_rows(
    rows: torch.Tensor,
    tokenizer: SidTokenizer,
    titles: Sequence[str],
    codes: npt.NDArray[np.int32],
) -> None:
    new = sorted(tokenizer.hf.get_added_vocab()[name] for name in tokenizer.added_names())
    text = rows[: new[0]]
    rows[new] = text.mean(0)
    title_means = torch.stack(
        [text[ids].mean(0) if ids else text.mean(0) for ids in tokenizer.encode_texts(titles)]
    )
    token_ids = torch.from_numpy(tokenizer.code_ids(codes))
    for of_level in token_ids.unbind(1):
        used, owner = torch.unique(of_level, return_inverse=True)
        sums = torch.zeros(len(used), rows.shape[1]).index_add_(0, owner, title_means)
        rows[used] = sums / torch.bincount(owner)[:, None]
    rows[new] += torch.randn(len(new), rows.shape[1]) * text.std() * _NEW_ROW_NOISE
