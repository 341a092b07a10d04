"""The model a run begins with: from scratch, or a checkpoint whose vocabulary is extended."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    BartConfig,
    BartForConditionalGeneration,
    GPT2Config,
    GPT2LMHeadModel,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from onesearch_fast.data.long_history import LongHistoryConfig
from onesearch_fast.data.tokenizer import SidTokenizer
from onesearch_fast.engine.served_model import LONG_HISTORY
from onesearch_fast.models import read_checkpoint
from onesearch_fast.nn import LongHistoryQFormer
from onesearch_fast.sid import Codebooks
from onesearch_fast.train.config import ModelConfig

# Beside random rows of deviation 0.02; twice and half of it did not do better.
_CATALOGUE_SCALE = 0.04
_NEW_ROW_NOISE = 0.02  # of the embedding's own spread: equal rows would stay equal


def new_model(
    config: ModelConfig,
    tokenizer: SidTokenizer,
    texts: Sequence[str],
    embeddings: npt.NDArray[np.float32],
    codes: npt.NDArray[np.int32],
    seed: int,
) -> Any:
    """A model of `config.architecture` with tied embeddings; equal arguments, equal weights.

    Weights are random, except that with `config.catalogue_start` the token rows know the catalogue,
    see `catalogue_rows`.

    Args:
        texts: what the encoder saw of each item.
        embeddings: float32 [num_items, dim], codes: int32 [num_items, num_levels].
    """
    torch.manual_seed(seed)
    model: Any = _ARCHITECTURES[config.architecture](config, tokenizer)
    if config.catalogue_start:
        rows = catalogue_rows(tokenizer, texts, embeddings, codes, config.hidden_size)
        with torch.no_grad():
            model.get_input_embeddings().weight += _CATALOGUE_SCALE * rows
    return model


def open_model(folder: str | os.PathLike[str], dtype: torch.dtype = torch.float32) -> Any:
    """A saved `transformers` model with its head, decoder-only or encoder-decoder."""
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    auto: Any = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    return auto.from_pretrained(folder, dtype=dtype, local_files_only=True)


def open_trained(folder: str | os.PathLike[str]) -> Any:
    """What `save_trained` wrote: `open_model`, and its `long_history` where there is one."""
    model, path = open_model(folder), Path(folder) / LONG_HISTORY
    if path.is_file():
        model.long_history = LongHistoryQFormer.load(path)
    return model


def save_trained(model: Any, folder: str | os.PathLike[str]) -> None:
    """Writes a `transformers` folder, and what reads long histories into a file of its own."""
    former = model._modules.get("long_history")
    if former is None:
        model.save_pretrained(folder)
        return
    checkpoint = read_checkpoint(model)
    model.save_pretrained(folder, state_dict={n: checkpoint.tensor(n) for n in checkpoint.shapes})
    former.save(Path(folder) / LONG_HISTORY)


def with_long_history(
    model: Any, config: LongHistoryConfig, codebooks: Codebooks, seed: int
) -> Any:
    """The model, and beside it a new `LongHistoryQFormer` over the residual levels' centroids."""
    torch.manual_seed(seed)
    levels = codebooks.levels[: codebooks.num_residual_levels]
    centroids = [torch.from_numpy(level.centroids) for level in levels]
    width = model.get_input_embeddings().weight.shape[1]
    model.long_history = LongHistoryQFormer(centroids, width, config.num_vectors, config.num_heads)
    return model


def _qwen3(config: ModelConfig, tokenizer: SidTokenizer) -> Any:
    return Qwen3ForCausalLM(
        Qwen3Config(
            hidden_size=config.hidden_size,
            num_hidden_layers=config.num_layers,
            num_attention_heads=config.num_heads,
            num_key_value_heads=config.num_kv_heads,
            head_dim=config.head_dim,
            intermediate_size=config.intermediate_size,
            max_position_embeddings=4096,
            **_vocabulary(tokenizer),
        )
    )


def _gpt2(config: ModelConfig, tokenizer: SidTokenizer) -> Any:
    return GPT2LMHeadModel(
        GPT2Config(
            n_embd=config.hidden_size,
            n_layer=config.num_layers,
            n_head=config.num_heads,
            n_inner=config.intermediate_size,
            n_positions=_LEARNT_POSITIONS,
            **_NO_DROPOUT_GPT2,
            **_vocabulary(tokenizer),
        )
    )


def _bart(config: ModelConfig, tokenizer: SidTokenizer) -> Any:
    return BartForConditionalGeneration(
        BartConfig(
            d_model=config.hidden_size,
            encoder_layers=config.num_layers,
            decoder_layers=config.num_layers,
            encoder_attention_heads=config.num_heads,
            decoder_attention_heads=config.num_heads,
            encoder_ffn_dim=config.intermediate_size,
            decoder_ffn_dim=config.intermediate_size,
            max_position_embeddings=_LEARNT_POSITIONS,
            dropout=0.0,
            decoder_start_token_id=tokenizer.eos_id,
            forced_eos_token_id=None,
            **_vocabulary(tokenizer),
        )
    )


def _vocabulary(tokenizer: SidTokenizer) -> dict[str, Any]:
    return {
        "vocab_size": tokenizer.vocab_size,
        "bos_token_id": tokenizer.hf.bos_token_id,
        "eos_token_id": tokenizer.eos_id,
        "pad_token_id": tokenizer.pad_id,
        "tie_word_embeddings": True,
        "use_cache": False,
    }


_LEARNT_POSITIONS = 1024
# Dropout is the objective's business.
_NO_DROPOUT_GPT2: dict[str, Any] = {"embd_pdrop": 0.0, "attn_pdrop": 0.0, "resid_pdrop": 0.0}
_ARCHITECTURES: dict[str, Callable[[ModelConfig, SidTokenizer], Any]] = {
    "qwen3": _qwen3,
    "gpt2": _gpt2,
    "bart": _bart,
}


def catalogue_rows(
    tokenizer: SidTokenizer,
    texts: Sequence[str],
    embeddings: npt.NDArray[np.float32],
    codes: npt.NDArray[np.int32],
    width: int,
) -> torch.Tensor:
    """float32 [vocab_size, width]: where words and codes stand in the space of the items' vectors.

    With y_i the leading `width` principal components of item i's vector,

        text piece t:       mean of y_i                        over the items whose text holds t
        code c of level l:  mean of y_i - mean_{j: same first l codes} y_j   over the items with c

    each scaled to a row of mean square 1; tokens of no item are zero. So a model that starts from
    these rows can already tell which codes a word speaks of, and need not learn it from clicks.
    Cost: one pass over the texts, and O(dim^3).
    """
    items = torch.from_numpy(_principal_components(embeddings, width))
    sums = torch.zeros(tokenizer.vocab_size, width)
    for item, ids in zip(items, tokenizer.encode_texts(texts), strict=True):
        sums[torch.tensor(sorted(set(ids)), dtype=torch.long)] += item
    residual = items
    for level, token_ids in enumerate(torch.from_numpy(tokenizer.code_ids(codes)).unbind(1)):
        sums.index_add_(0, token_ids, residual)
        _, prefix = np.unique(codes[:, : level + 1], axis=0, return_inverse=True)
        residual = items - _group_means(items, torch.from_numpy(prefix.reshape(-1)))
    # Sums and means point the same way, and only the direction is kept.
    lengths = sums.norm(dim=1, keepdim=True)
    directions = torch.where(lengths > 1e-6, sums / lengths.clamp_min(1e-6), 0.0)
    return directions * math.sqrt(width)


def _principal_components(x: npt.NDArray[np.float32], width: int) -> npt.NDArray[np.float32]:
    """float32 [n, width]; zeros beyond the width of `x`."""
    centred = x - x.mean(0)
    _, axes = np.linalg.eigh(centred.T @ centred)
    kept = centred @ axes[:, ::-1][:, :width]
    return np.pad(kept, ((0, 0), (0, width - kept.shape[1]))).astype(np.float32)


def _group_means(x: torch.Tensor, group: torch.Tensor) -> torch.Tensor:
    """Row i: the mean of the rows of x [n, width] that are in the group of i."""
    counts = torch.bincount(group)
    sums = torch.zeros(len(counts), x.shape[1]).index_add_(0, group, x)
    return (sums / counts[:, None])[group]


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
    model = open_model(str(config.checkpoint))
    size = max(tokenizer.vocab_size, model.config.vocab_size)
    model.resize_token_embeddings(size, mean_resizing=False)  # all new rows are filled below
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
