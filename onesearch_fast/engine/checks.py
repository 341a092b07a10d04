"""Checks of what callers hand to an `Engine`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch

from onesearch_fast import registry
from onesearch_fast.engine.beam_search import CodeRanges, SearchSettings
from onesearch_fast.engine.catalogues import Catalogue
from onesearch_fast.engine.deadline import Deadline
from onesearch_fast.engine.search_batch import SearchBatch
from onesearch_fast.engine.search_options import NO_OPTIONS
from onesearch_fast.errors import BackendUnavailable, invalid
from onesearch_fast.models import DecoderModel
from onesearch_fast.ops.constrained_beam_step import NORMALIZERS

QUANTIZATIONS = ("int8",)
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

_INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


def bad(
    argument: str,
    expected: str,
    got: object,
    remedy: str | None = None,
    kind: type[Exception] = ValueError,
) -> Exception:
    return invalid("Engine", argument, expected, got, remedy, kind)


def check_quantization(quantization: str | None) -> str | None:
    if quantization not in (None, *QUANTIZATIONS):
        raise bad("quantization", f"None or {', '.join(QUANTIZATIONS)}", quantization)
    return quantization


def torch_dtype(dtype: str | torch.dtype) -> torch.dtype:
    chosen = DTYPES.get(dtype) if isinstance(dtype, str) else dtype
    if chosen is None or chosen not in DTYPES.values():
        raise bad("dtype", f"one of {', '.join(DTYPES)}", dtype)
    return chosen


def check_device(where: str, argument: str, device: str | torch.device) -> torch.device:
    """One that torch knows and, if it is a GPU, can use here."""
    try:
        chosen = torch.device(device)
    except (RuntimeError, TypeError):
        raise invalid(where, argument, "cpu, cuda or cuda:N", device) from None
    if chosen.type not in ("cpu", "cuda"):
        raise invalid(where, argument, "cpu, cuda or cuda:N", device)
    reason = registry.gpu_why_not() if chosen.type == "cuda" else None
    if reason is not None:
        remedy = f"{reason}; use {argument} cpu"
        raise invalid(where, argument, "one that works here", device, remedy, BackendUnavailable)
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise invalid(where, argument, f"one of {torch.cuda.device_count()} GPUs", device)
    return chosen


def code_ranges(
    config: Mapping[str, Any],
    code_token_offsets: Sequence[int] | None,
    trie: Catalogue,
    vocab_size: int,
) -> CodeRanges:
    offsets = config.get("code_token_offsets") if code_token_offsets is None else code_token_offsets
    if offsets is None:
        remedy = "pass the token id of code 0 of every level"
        raise bad("code_token_offsets", "one offset per level", "none in the config", remedy)
    sizes = config.get("level_sizes", trie.level_sizes)
    if tuple(sizes) != trie.level_sizes:
        remedy = "the trie belongs to another model"
        raise bad("trie", f"level_sizes {tuple(sizes)}, as in the config", trie.level_sizes, remedy)
    if len(offsets) != trie.num_levels:
        expected = f"one offset per level ({trie.num_levels})"
        raise bad("code_token_offsets", expected, list(offsets))
    for level, (offset, size) in enumerate(zip(offsets, trie.level_sizes, strict=True)):
        if offset < 0 or offset + size > vocab_size:
            expected = f"level {level}'s {size} codes within the vocabulary of {vocab_size}"
            raise bad("code_token_offsets", expected, f"ids {offset} to {offset + size - 1}")
    _check_apart(tuple(offsets), trie.level_sizes)
    return CodeRanges(tuple(int(offset) for offset in offsets), trie.level_sizes)


def _check_apart(offsets: tuple[int, ...], sizes: tuple[int, ...]) -> None:
    """Levels may share one range of tokens, but none may run on into another's."""
    for (first, size), (second, _) in pairwise(sorted(zip(offsets, sizes, strict=True))):
        if first < second < first + size:
            expected = f"the {size} codes from id {first} to end before those from id {second}"
            remedy = "the trie's level sizes are not those of the tokenizer"
            raise bad("code_token_offsets", expected, f"offsets {offsets}, sizes {sizes}", remedy)


def check_room(model: DecoderModel, num_steps: int) -> None:
    """Refuses a model with too few positions for one token of prompt and the codes fed back."""
    before = len(model.decoder_prefix_ids) if model.encoder is not None else 1
    positions, needed = model.shape.max_positions, before + num_steps
    if positions < needed:
        raise bad("max_positions", f"at least {needed}, for the SID and its start", positions)


def check_normalizer(normalizer: str) -> None:
    if normalizer not in NORMALIZERS:
        raise bad("normalizer", f"one of {', '.join(NORMALIZERS)}", normalizer)


def check_search(batch: SearchBatch, settings: SearchSettings, constrained: bool) -> None:
    """Refuses what has no meaning together."""
    if not constrained:
        _check_unconstrained(batch, settings)
    if settings.options.node_priors is not None and len(batch.catalogues.members) > 1:
        expected = "None beside one catalogue per request"
        raise bad("options.node_priors", expected, "priors", "nodes are numbered per catalogue")


def _check_unconstrained(batch: SearchBatch, settings: SearchSettings) -> None:
    if settings.options != NO_OPTIONS:
        raise bad("options", "none with constrained=False", settings.options)
    if settings.normalizer in ("children", "none"):
        remedy = "an unconstrained search is normalised over the vocabulary"
        raise bad("normalizer", "'vocab' with constrained=False", settings.normalizer, remedy)
    if batch.filters is not None:
        remedy = "filters choose among the trie's items"
        raise bad("filter", "None with constrained=False", "a filter", remedy)
    if len({*batch.num_beams, *settings.widths}) > 1:
        raise bad("num_beams", "one number with constrained=False", "several")
    if min(batch.deadlines) < Deadline():
        remedy = "there is no trie to complete the beams from"
        raise bad("deadline_ms", "None with constrained=False", "a deadline", remedy)


def check_codes(codes: torch.Tensor, batch: int, level_sizes: tuple[int, ...]) -> torch.Tensor:
    """As int64 [batch, sid, level]."""
    if not isinstance(codes, torch.Tensor) or codes.dtype not in _INTEGERS:
        got = codes.dtype if isinstance(codes, torch.Tensor) else type(codes)
        raise bad("codes", "an integer tensor", got, "wrap arrays in torch.from_numpy", TypeError)
    given = codes.unsqueeze(1) if codes.dim() == 2 else codes
    if given.dim() != 3 or given.shape[::2] != (batch, len(level_sizes)) or not given.shape[1]:
        expected = f"[batch, sid, level] = [{batch}, at least 1, {len(level_sizes)}]"
        raise bad("codes", expected, tuple(codes.shape))
    outside = (given >= torch.tensor(level_sizes, device=given.device)) | (given < -1)
    if bool(outside.any()):
        expected = f"codes below the level sizes {level_sizes}, or -1"
        raise bad("codes", expected, given[outside.any(2)][0].tolist())
    return given.long()
