"""Making an engine's parts fit each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from onesearch_fast.engine.beam_search import SearchSpace
from onesearch_fast.engine.catalogues import Catalogue
from onesearch_fast.engine.checks import check_quantization, check_room, code_ranges, torch_dtype
from onesearch_fast.engine.executor import Executor
from onesearch_fast.engine.memory import MemoryBudget, MemoryModel, check_weights_fit
from onesearch_fast.engine.numbers import whole_number
from onesearch_fast.engine.prefix_cache import PrefixCache
from onesearch_fast.engine.prompt_reader import PromptReader
from onesearch_fast.models import Checkpoint, load_model


@dataclass(frozen=True)
class Form:
    """Where and in what numbers a model runs; as of `Engine.from_pretrained`."""

    device: str | torch.device
    dtype: str | torch.dtype
    quantization: str | None


@dataclass(frozen=True)
class Limits:
    """How an engine runs; as of `Engine.from_pretrained`."""

    deterministic: bool
    prefix_cache_bytes: int
    max_memory_bytes: int | None


def assemble(
    checkpoint: Checkpoint,
    catalogue: Catalogue,
    form: Form,
    code_token_offsets: Sequence[int] | None,
    limits: Limits,
) -> Executor:
    """Loads the weights, once everything else is known to fit."""
    cache_bytes = whole_number("Engine", "prefix_cache_bytes", limits.prefix_cache_bytes, 0)
    dtype, quantization = torch_dtype(form.dtype), check_quantization(form.quantization)
    if limits.max_memory_bytes is not None:
        check_weights_fit(checkpoint, dtype, quantization, limits.max_memory_bytes)
    model = load_model(checkpoint, dtype, form.device, quantization=quantization)
    vocab_size = model.shape.vocab_size
    ranges = code_ranges(checkpoint.config, code_token_offsets, catalogue, vocab_size)
    check_room(model, catalogue.num_levels - 1)
    budget = None
    if limits.max_memory_bytes is not None:
        bounds = MemoryModel.of(checkpoint, model, catalogue.level_sizes)
        budget = MemoryBudget(limits.max_memory_bytes, bounds, cache_bytes)
    cache = PrefixCache(cache_bytes) if cache_bytes else None
    reader = PromptReader(cache, in_blocks=limits.deterministic)
    return Executor(SearchSpace(model, reader, ranges), limits.deterministic, budget)
