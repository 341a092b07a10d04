"""Prompts in the one form the engine runs: padded on the right, with their lengths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from onesearch_fast.engine.transfers import to_device
from onesearch_fast.errors import invalid
from onesearch_fast.models import DecoderModel, max_prompt_tokens

_WHERE = "Engine"


@dataclass(frozen=True)
class PromptBatch:
    """tokens [batch, prompt] int64, or embeds [batch, prompt, hidden]; lengths [batch] int64.

    They lie on the model's device; `sizes` are the lengths as the host knows them.
    """

    tokens: torch.Tensor
    embeds: torch.Tensor | None
    lengths: torch.Tensor
    sizes: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.lengths)

    def embeddings(
        self, model: DecoderModel, begin: int = 0, end: int | None = None
    ) -> torch.Tensor:
        """What the model reads for tokens [begin, end): [batch, token, hidden]."""
        if self.embeds is not None:
            return self.embeds[:, begin:end]
        return model.embed(self.tokens[:, begin:end])

    def rows(self, rows: Sequence[int]) -> PromptBatch:
        """Some of the requests, cut to the longest of them."""
        chosen = list(rows)
        sizes = tuple(self.sizes[row] for row in chosen)
        longest = max(sizes)
        embeds = None if self.embeds is None else self.embeds[chosen, :longest]
        return PromptBatch(self.tokens[chosen, :longest], embeds, self.lengths[chosen], sizes)

    @classmethod
    def make(
        cls,
        model: DecoderModel,
        input_ids: torch.Tensor | Sequence[Sequence[int]] | None,
        attention_mask: torch.Tensor | None,
        prompt_embeds: torch.Tensor | None,
        room: int,
    ) -> PromptBatch:
        """Checks a caller's prompts and moves their tokens to the left.

        Args:
            input_ids: [batch, prompt] integers, or lists of token ids, one a request, of any
                lengths; None when `prompt_embeds` is given.
            attention_mask: [batch, prompt] of 0 and 1; what is 0 counts as absent, wherever it is.
            prompt_embeds: [batch, prompt, hidden], read in place of the embeddings of `input_ids`.
            room: tokens that are generated and read after the prompt.
        """
        if prompt_embeds is not None:
            _check_embeds(prompt_embeds, model)
            _check_is_tensor("attention_mask", attention_mask)
            tokens = torch.zeros(prompt_embeds.shape[:2], dtype=torch.int64)
        else:
            tokens, attention_mask = _token_matrix(input_ids, attention_mask)
            _check_tokens(tokens, attention_mask, model.shape.vocab_size)
            tokens = tokens.to(torch.int64)
        # On the host, where they mostly come from: on a GPU every check would wait for it.
        kept = _kept(tokens, attention_mask)
        lengths = kept.sum(1)
        _check_lengths(lengths, max_prompt_tokens(model, room))
        sizes = tuple(lengths.tolist())
        order = torch.argsort(kept.logical_not(), dim=1, stable=True)[:, : max(sizes)]
        moved = to_device((tokens * kept).gather(1, order), model.device)
        lengths = to_device(lengths, model.device)
        if prompt_embeds is None:
            return cls(moved, None, lengths, sizes)
        embeds = to_device(prompt_embeds.detach(), model.device).to(model.dtype)
        kept, order = to_device(kept, model.device), to_device(order, model.device)
        # What is left out may hold anything, NaN as well, and zero times NaN is no zero.
        embeds = embeds.masked_fill(~kept.unsqueeze(2), 0.0)
        rows = torch.arange(len(order), device=model.device)[:, None]
        return cls(moved, embeds[rows, order], lengths, sizes)


def _token_matrix(
    input_ids: torch.Tensor | Sequence[Sequence[int]] | None, mask: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor | None]:
    if input_ids is None:
        raise invalid(_WHERE, "input_ids", "token ids, or prompt_embeds instead", None)
    if isinstance(input_ids, torch.Tensor):
        _check_is_tensor("attention_mask", mask)
        return input_ids, mask
    if mask is not None:
        remedy = "leave attention_mask out: lists have their own lengths"
        raise invalid(_WHERE, "input_ids", "a tensor beside attention_mask", "lists", remedy)
    rows = [_token_row(row) for row in _listed(input_ids)]
    longest = max(map(len, rows), default=0)
    tokens = torch.zeros(len(rows), longest, dtype=torch.int64)
    mask = torch.zeros(len(rows), longest, dtype=torch.bool)
    for index, row in enumerate(rows):
        tokens[index, : len(row)] = row
        mask[index, : len(row)] = True
    return tokens, mask


def _listed(input_ids: Any) -> list[Any]:
    expected = "a tensor, or lists of token ids, one a request"
    try:
        rows = list(input_ids)
    except TypeError:
        raise invalid(_WHERE, "input_ids", expected, type(input_ids), kind=TypeError) from None
    flat = next((row for row in rows if isinstance(row, str) or not hasattr(row, "__len__")), None)
    if flat is not None:
        raise invalid(_WHERE, "input_ids", expected, repr(flat), "one request is a batch of one")
    return rows


def _token_row(row: Any) -> torch.Tensor:
    """One request's list as int64 [tokens]."""
    try:
        ids = torch.as_tensor(row) if len(row) else torch.zeros(0, dtype=torch.int64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise invalid(_WHERE, "input_ids", "lists of integers", str(error)) from error
    if ids.dim() != 1:
        raise invalid(_WHERE, "input_ids", "one list of token ids a request", tuple(ids.shape))
    _check_integers(ids)
    return ids.long()


def _check_integers(ids: torch.Tensor) -> None:
    if ids.dtype.is_floating_point or ids.dtype.is_complex or ids.dtype is torch.bool:
        raise invalid(_WHERE, "input_ids", "integers", ids.dtype, kind=TypeError)


def _check_tokens(tokens: torch.Tensor, mask: torch.Tensor | None, vocab_size: int) -> None:
    _check_integers(tokens)
    if tokens.dim() != 2 or not tokens.numel():
        remedy = "one request is a batch of one, and no prompt is empty"
        raise invalid(_WHERE, "input_ids", "[batch, prompt]", tuple(tokens.shape), remedy)
    used = tokens if mask is None or mask.shape != tokens.shape else tokens[mask != 0]
    outside = used[(used < 0) | (used >= vocab_size)]
    if outside.numel():
        remedy = "the tokenizer and the model disagree"
        expected = f"token ids in [0, {vocab_size})"
        raise invalid(_WHERE, "input_ids", expected, int(outside[0]), remedy)


def _check_is_tensor(argument: str, value: object) -> None:
    if value is not None and not isinstance(value, torch.Tensor):
        remedy = "use torch.as_tensor"
        raise invalid(_WHERE, argument, "a torch.Tensor", type(value), remedy, TypeError)


def _check_embeds(embeds: torch.Tensor, model: DecoderModel) -> None:
    hidden = model.shape.hidden_size
    _check_is_tensor("prompt_embeds", embeds)
    if embeds.dim() != 3 or embeds.shape[2] != hidden or not embeds.numel():
        expected = f"[batch, prompt, {hidden}]"
        raise invalid(_WHERE, "prompt_embeds", expected, tuple(embeds.shape))


def _kept(tokens: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """[batch, prompt] bool: which tokens are part of the prompt."""
    if mask is None:
        return torch.ones(tokens.shape, dtype=torch.bool, device=tokens.device)
    if mask.shape != tokens.shape:
        expected = f"[batch, prompt] = {tuple(tokens.shape)}"
        raise invalid(_WHERE, "attention_mask", expected, tuple(mask.shape))
    if not bool(((mask == 0) | (mask == 1)).all()):
        remedy = "additive and weighted masks are not served"
        raise invalid(_WHERE, "attention_mask", "0 and 1 only", "other values", remedy)
    return mask.to(tokens.device, torch.bool)


def _check_lengths(lengths: torch.Tensor, longest: int) -> None:
    if int(lengths.min()) < 1:
        request = int(lengths.argmin())
        remedy = "give every request at least one token"
        raise invalid(_WHERE, "attention_mask", "a prompt", f"none in request {request}", remedy)
    if int(lengths.max()) > longest:
        expected = f"at most {longest} tokens (the model's positions, less what it generates)"
        raise invalid(_WHERE, "input_ids", expected, int(lengths.max()), "cut the prompt")
