"""Making an engine's parts fit each other."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from onesearch_fast.engine.beam_search import SearchSpace
from onesearch_fast.engine.catalogues import Catalogue
from onesearch_fast.engine.checks import (
    check_device,
    check_quantization,
    check_room,
    code_ranges,
    torch_dtype,
)
from onesearch_fast.engine.decode_graphs import DecodeGraphs, GraphMaker
from onesearch_fast.engine.executor import Executor
from onesearch_fast.engine.memory import MemoryBudget, MemoryModel, check_weights_fit
from onesearch_fast.engine.numbers import whole_number
from onesearch_fast.engine.prefix_cache import PrefixCache
from onesearch_fast.engine.prompt_reader import PromptReader
from onesearch_fast.errors import BackendUnavailable, invalid
from onesearch_fast.models import Checkpoint, DecoderModel, load_model
from onesearch_fast.ops.constrained_beam_step import OPERATOR
from onesearch_fast.registry import why_not


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
    cuda_graph_bytes: int | None = None


def assemble(
    checkpoint: Checkpoint,
    catalogue: Catalogue,
    form: Form,
    code_token_offsets: Sequence[int] | None,
    limits: Limits,
) -> Executor:
    """Loads the weights, once everything else is known to fit."""
    cache_bytes = whole_number("Engine", "prefix_cache_bytes", limits.prefix_cache_bytes, 0)
    device = check_device("Engine", "device", form.device)
    dtype, quantization = torch_dtype(form.dtype), check_quantization(form.quantization)
    if limits.max_memory_bytes is not None:
        check_weights_fit(checkpoint, dtype, quantization, limits.max_memory_bytes)
    model = load_model(checkpoint, dtype, device, quantization=quantization)
    vocab_size = model.shape.vocab_size
    ranges = code_ranges(checkpoint.config, code_token_offsets, catalogue, vocab_size)
    check_room(model, catalogue.num_levels - 1)
    bounds = MemoryModel.of(checkpoint, model, catalogue.level_sizes)
    cache = PrefixCache(cache_bytes) if cache_bytes else None
    reader = PromptReader(cache, in_blocks=limits.deterministic)
    graph_bytes = _graph_bytes(model, limits, bounds)
    budget = None
    if limits.max_memory_bytes is not None:
        budget = MemoryBudget(limits.max_memory_bytes, bounds, cache_bytes, graph_bytes)
    graphs = None
    if graph_bytes:
        graphs = DecodeGraphs(GraphMaker.for_cuda(model, ranges, bounds), reader, graph_bytes)
    return Executor(SearchSpace(model, reader, ranges, graphs), limits.deterministic, budget)


def _graph_bytes(model: DecoderModel, limits: Limits, bounds: MemoryModel) -> int:
    """What CUDA graphs may take; 0 where there are to be none, which a warning tells on a GPU."""
    asked = limits.cuda_graph_bytes
    if asked is not None:
        asked = whole_number("Engine", "cuda_graph_bytes", asked, 0)
    on_gpu = model.device.type == "cuda"
    if asked == 0 or (asked is None and not on_gpu):
        return 0
    reason = why_not(OPERATOR, "cuda", "cuda", model.dtype) if on_gpu else "the model is on the CPU"
    if reason is None:
        return _room_for_graphs(model, limits, bounds) if asked is None else asked
    if asked is not None:
        raise invalid(
            *("Engine", "cuda_graph_bytes", "0 or None here", asked, reason, BackendUnavailable)
        )
    warnings.warn(f"Engine: searches run step by step: {reason}", RuntimeWarning, stacklevel=4)
    return 0


def _room_for_graphs(model: DecoderModel, limits: Limits, bounds: MemoryModel) -> int:
    """A quarter of the device's memory, or half of what `max_memory_bytes` leaves.

    Less than half where the smallest search would not fit beside them.
    """
    if limits.max_memory_bytes is not None:
        left = limits.max_memory_bytes - bounds.weights - limits.prefix_cache_bytes
        return max(min(left // 2, left - bounds.smallest_search), 0)
    total: int = torch.cuda.get_device_properties(model.device).total_memory
    return total // 4
