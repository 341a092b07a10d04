"""Keys and values of prompt beginnings that were read before."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from itertools import takewhile

import torch

# What an entry costs beside its tensors: its key, two tensor objects, the dictionary's slot.
_ENTRY_BYTES = 1024


@dataclass(frozen=True)
class CacheStats:
    """What a `PrefixCache` holds and has done, in blocks.

    Attributes:
        blocks, nbytes: held now.
        max_bytes: what it may hold.
        hits, misses: blocks of prompts that were found, and that were not.
        evictions: given up for newer ones.
    """

    blocks: int
    nbytes: int
    max_bytes: int
    hits: int
    misses: int
    evictions: int


@dataclass(frozen=True)
class Block:
    """Keys and values [layer, kv_head, token, head_dim] of tokens, after those before them.

    Attributes:
        written: on a GPU, when the stream that made it has.
    """

    keys: torch.Tensor
    values: torch.Tensor
    written: torch.cuda.Event | None = None

    @classmethod
    def copy(cls, keys: torch.Tensor, values: torch.Tensor) -> Block:
        """A block with memory of its own."""
        layout = torch.contiguous_format
        own = cls(keys.clone(memory_format=layout), values.clone(memory_format=layout))
        if not keys.is_cuda:
            return own
        return replace(own, written=torch.cuda.current_stream(keys.device).record_event())

    def use(self) -> None:
        """Comes before the current stream of its device reads it.

        The stream waits until it is written, and its memory goes to nobody else before the stream
        is done with it, even when the cache gives it up.
        """
        if self.written is None:
            return
        stream = torch.cuda.current_stream(self.keys.device)
        stream.wait_event(self.written)
        for part in (self.keys, self.values):
            part.record_stream(stream)

    @property
    def nbytes(self) -> int:
        return self.keys.nbytes + self.values.nbytes + _ENTRY_BYTES


def block_keys(kind: bytes, contents: Iterable[bytes]) -> list[bytes]:
    """The key of each block: a hash of its content and of the key before it.

    Equal keys mean equal content from the beginning on (BLAKE2b, 256 bits), so that what is found
    under one has been read after exactly the same tokens.
    """
    keys, before = [], kind
    for content in contents:
        before = blake2b(before + content, digest_size=32).digest()
        keys.append(before)
    return keys


class PrefixCache:
    """Blocks by key, bounded in bytes; those used longest ago go first.

    Safe to use from many threads. Blocks are immutable, and one that is given up lives on where it
    is in use.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._blocks: OrderedDict[bytes, Block] = OrderedDict()
        self._nbytes = 0
        self._hits = self._misses = self._evictions = 0

    def find(self, keys: Sequence[bytes]) -> list[Block]:
        """The blocks of the longest beginning of `keys` that is held."""
        with self._lock:
            held = list(takewhile(self._blocks.__contains__, keys))
            self._touch(held)
            self._hits += len(held)
            self._misses += len(keys) - len(held)
            return [self._blocks[key] for key in held]

    def add(self, keys: Sequence[bytes], blocks: Sequence[Block]) -> None:
        """Keeps the last blocks of a prompt, whose keys from its beginning on are `keys`."""
        with self._lock:
            for key, block in zip(keys[len(keys) - len(blocks) :], blocks, strict=True):
                # Of a block that another thread has read as well, the first is kept.
                if key not in self._blocks:
                    self._blocks[key] = block
                    self._nbytes += block.nbytes
            self._touch([key for key in keys if key in self._blocks])
            while self._nbytes > self._max_bytes:
                _, oldest = self._blocks.popitem(last=False)
                self._nbytes -= oldest.nbytes
                self._evictions += 1

    def clear(self) -> None:
        """Forgets everything, as new weights require."""
        with self._lock:
            self._blocks.clear()
            self._nbytes = 0

    def stats(self) -> CacheStats:
        """What it holds and has done."""
        with self._lock:
            return CacheStats(
                len(self._blocks),
                self._nbytes,
                self._max_bytes,
                self._hits,
                self._misses,
                self._evictions,
            )

    def _touch(self, keys: Sequence[bytes]) -> None:
        """Makes them the last to go, a block later than those that need it."""
        for key in reversed(keys):
            self._blocks.move_to_end(key)
