"""Keys and values of prompt beginnings that were read before."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
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
    """Keys and values [layer, kv_head, token, head_dim] of tokens, after those before them."""

    keys: torch.Tensor
    values: torch.Tensor

    @classmethod
    def copy(cls, keys: torch.Tensor, values: torch.Tensor) -> Block:
        """A block with memory of its own."""
        layout = torch.contiguous_format
        return cls(keys.clone(memory_format=layout), values.clone(memory_format=layout))

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
