"""Reading prompts: at once, from where a cache knows them, or block by block."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from onesearch_fast.engine.decoding import Prefilled, encode, prefill
from onesearch_fast.engine.kv_cache import ContextKV, PrefillAttention
from onesearch_fast.engine.prefix_cache import Block, PrefixCache, block_keys
from onesearch_fast.engine.prompt_batch import PromptBatch
from onesearch_fast.models import DecoderModel, Encoder

# Shorter blocks find more in common and cost more look-ups and copies, and smaller products where
# prompts are read block by block. 32 tokens of a 29M-parameter model in bfloat16 are 256 KiB.
BLOCK_TOKENS = 32


@dataclass(frozen=True)
class ReadPrompts:
    """Prompts that have been read, and how many tokens of each the cache held."""

    prefilled: Prefilled
    cached_tokens: tuple[int, ...]


class PromptReader:
    """Reads prompts for one model.

    With a cache, what begins a prompt is read once and then copied: the whole blocks of a
    decoder-only model, whole prompts of an encoder, whose every state depends on every token.
    `in_blocks` reads a single prompt in products of one block, so that the bits of a block are the
    same whether the blocks before it come from the cache or not.
    """

    def __init__(self, cache: PrefixCache | None, in_blocks: bool) -> None:
        self.cache = cache
        self._in_blocks = in_blocks

    def read(self, model: DecoderModel, prompts: PromptBatch) -> ReadPrompts:
        """Every prompt of a batch; prompts of which equally much is known are read together."""
        if self.cache is not None and model.encoder is not None:
            return _read_encoded(model, model.encoder, prompts, self.cache)
        if model.encoder is not None or (self.cache is None and not self._in_blocks):
            return ReadPrompts(prefill(model, prompts), (0,) * len(prompts))
        keys = [[]] * len(prompts) if self.cache is None else _keys(prompts, BLOCK_TOKENS)
        known = [self._known(*pair) for pair in zip(keys, prompts.sizes, strict=True)]
        parts = [
            (rows, self._read_after(model, prompts.rows(rows), [known[row] for row in rows]))
            for rows in _rows_by_length(known)
        ]
        read = parts[0][1] if len(parts) == 1 else _merged(model, prompts, parts)
        if self.cache is not None:
            _remember(self.cache, read.context, keys, known)
        return ReadPrompts(read, tuple(len(blocks) * BLOCK_TOKENS for blocks in known))

    def _known(self, keys: Sequence[bytes], length: int) -> list[Block]:
        """The blocks that need not be read; the last token always is, for its state."""
        if self.cache is None:
            return []
        return self.cache.find(keys[: (length - 1) // BLOCK_TOKENS])

    def _read_after(
        self, model: DecoderModel, prompts: PromptBatch, known: Sequence[Sequence[Block]]
    ) -> Prefilled:
        """Reads prompts of each of which equally many blocks are known."""
        begin, length = len(known[0]) * BLOCK_TOKENS, max(prompts.sizes)
        if not begin and not self._in_blocks:
            return prefill(model, prompts)
        context = ContextKV.empty(model, prompts.lengths, length)
        for row, blocks in enumerate(known):
            for number, block in enumerate(blocks):
                _put(context, row, number * BLOCK_TOKENS, block)
        size = BLOCK_TOKENS if self._in_blocks else length - begin
        for at in range(begin, length, size):
            hidden = _read_tokens(model, prompts, context, at, min(at + size, length))
        return Prefilled(context, None, hidden)


def _read_tokens(
    model: DecoderModel, prompts: PromptBatch, context: ContextKV, begin: int, end: int
) -> torch.Tensor:
    """Reads tokens [begin, end) after those in `context`; the last tokens' states, where inside."""
    positions = torch.arange(begin, end, device=model.device).unsqueeze(0)
    last = (prompts.lengths - 1 - begin).clamp(max=end - begin - 1)
    attention = PrefillAttention(context, None, begin, end)
    return model.forward(prompts.embeddings(model, begin, end), positions, attention, last=last)


def _keys(prompts: PromptBatch, block_tokens: int | None) -> list[list[bytes]]:
    """The keys of each prompt's whole blocks, or of the prompt as one block."""
    content, kind = prompts.tokens, b"tokens"
    if prompts.embeds is not None:
        content, kind = prompts.embeds.contiguous().view(torch.uint8), b"embeddings"
    rows = zip(content.cpu().numpy(), prompts.sizes, strict=True)
    keys = []
    for row, length in rows:
        size = block_tokens or length
        ends = range(size, length + 1, size)
        keys.append(block_keys(kind, (row[end - size : end].tobytes() for end in ends)))
    return keys


def _rows_by_length(known: Sequence[Sequence[Block]]) -> Iterator[list[int]]:
    """Requests of which equally many blocks are known, together."""
    for number in sorted({len(blocks) for blocks in known}):
        yield [row for row, blocks in enumerate(known) if len(blocks) == number]


def _put(context: ContextKV, row: int, begin: int, block: Block) -> None:
    block.use()
    tokens = slice(begin, begin + block.keys.shape[2])
    context.keys[:, row, :, tokens] = block.keys
    context.values[:, row, :, tokens] = block.values


def _cut(context: ContextKV, row: int, begin: int, end: int) -> Block:
    keys, values = (part[:, row, :, begin:end] for part in (context.keys, context.values))
    return Block.copy(keys, values)


def _merged(
    model: DecoderModel, prompts: PromptBatch, parts: Sequence[tuple[list[int], Prefilled]]
) -> Prefilled:
    """One batch out of parts that were read apart."""
    context = ContextKV.empty(model, prompts.lengths, max(prompts.sizes))
    hidden = parts[0][1].hidden.new_empty(len(prompts), *parts[0][1].hidden.shape[1:])
    for rows, part in parts:
        length = part.context.keys.shape[3]
        context.keys[:, rows, :, :length] = part.context.keys
        context.values[:, rows, :, :length] = part.context.values
        hidden[rows] = part.hidden
    return Prefilled(context, None, hidden)


def _remember(
    cache: PrefixCache,
    context: ContextKV,
    keys: Sequence[Sequence[bytes]],
    known: Sequence[Sequence[Block]],
) -> None:
    """Keeps the blocks that had to be read."""
    for row, (path, blocks) in enumerate(zip(keys, known, strict=True)):
        begins = range(len(blocks) * BLOCK_TOKENS, len(path) * BLOCK_TOKENS, BLOCK_TOKENS)
        new = [_cut(context, row, begin, begin + BLOCK_TOKENS) for begin in begins]
        cache.add(path, new)


def _read_encoded(
    model: DecoderModel, encoder: Encoder, prompts: PromptBatch, cache: PrefixCache
) -> ReadPrompts:
    """Prompts of an encoder; a prompt is one block."""
    keys, lengths = _keys(prompts, None), prompts.sizes
    known = [cache.find(key) for key in keys]
    unread = [row for row, blocks in enumerate(known) if not blocks]
    encoded = ContextKV.empty(model, prompts.lengths, max(prompts.sizes))
    if unread:
        fresh = encode(model, encoder, prompts.rows(unread))
        for number, row in enumerate(unread):
            known[row] = [_cut(fresh, number, 0, lengths[row])]
            cache.add(keys[row], known[row])
    for row, blocks in enumerate(known):
        _put(encoded, row, 0, blocks[0])
    cached = tuple(0 if row in unread else length for row, length in enumerate(lengths))
    return ReadPrompts(prefill(model, prompts, encoded), cached)
