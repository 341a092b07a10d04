"""Builds a trie by operations of torch, where its codes are: a catalogue on a GPU is sorted there.

Gives the bytes of the native builder, which docs/trie_file_format.md describes one by one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch

from onesearch_fast import _C
from onesearch_fast.index._arrays import float_vector, index_vector

# Codes are packed into int64, which sorts as they do while it is not negative.
_KEY_BITS = 63
_MOST_ITEMS = 2**31 - 1


@dataclass(frozen=True)
class DeviceRows:
    """Rows of a catalogue on one device; `item_ids` int64 and `item_scores` float64 [num_items]."""

    codes: torch.Tensor
    level_sizes: tuple[int, ...]
    item_ids: torch.Tensor | None
    item_scores: torch.Tensor | None
    keep_scores: bool

    @classmethod
    def of(
        cls,
        codes: torch.Tensor,
        level_sizes: Sequence[int],
        item_ids: Any,
        item_scores: Any,
        keep_scores: bool,
    ) -> DeviceRows:
        """Arguments of `SidTrie.build`, moved to the device of `codes`."""
        ids = None if item_ids is None else _ids_on(codes.device, item_ids)
        scores = None if item_scores is None else _scores_on(codes.device, item_scores)
        return cls(codes, tuple(level_sizes), ids, scores, keep_scores)

    def are_sound(self) -> bool:
        """Whether a trie can be built of them, but for ids that occur twice. Waits for the device.

        In a form that is wrong itself nothing is looked at.
        """
        if not self._have_form():
            return False
        faults = []
        for level, size in enumerate(self.level_sizes):
            column = self.codes[:, level].long()  # what only uint64 holds becomes negative
            faults.append(((column < 0) | (column >= size)).any())
        if self.item_ids is not None:
            faults.append((self.item_ids < 0).any())
        if self.item_scores is not None:
            kept = self.item_scores.float().isfinite()
            faults.append((~kept if self.keep_scores else self.item_scores.isnan()).any())
        return not bool(torch.stack(faults).any())

    def _have_form(self) -> bool:
        codes, sizes, ids, scores = self.codes, self.level_sizes, self.item_ids, self.item_scores
        return (
            2 <= len(sizes) <= 8
            and all(2 <= size <= 65536 for size in sizes)
            and codes.dim() == 2
            and codes.shape[1] == len(sizes)
            and 1 <= len(codes) <= _MOST_ITEMS
            and _is_integer(codes)
            and (ids is None or (_is_integer(ids) and ids.shape == codes.shape[:1]))
            and (scores is None or (not scores.is_complex() and scores.shape == codes.shape[:1]))
            and (scores is not None or not self.keep_scores)
        )


@torch.no_grad()
def build_on_device(rows: DeviceRows) -> _C.SidTrie | None:
    """The trie of sound rows; None where an id occurs twice."""
    order = _order(rows)
    by_id = _positions_by_id(rows.item_ids, order)
    if by_id is None:
        return None
    begins, tokens = _nodes(rows, order)
    items = [order.int(), by_id.int()]
    if rows.item_ids is not None:
        items.insert(0, rows.item_ids[order])
    if rows.item_scores is not None and rows.keep_scores:
        items.append(rows.item_scores[order].float())
    num_items = len(order)
    sections = (*_levels(begins, tokens), *_items_by_node(begins, num_items), *items)
    return _C.SidTrie.assemble(
        list(rows.level_sizes),
        [len(begin) for begin in begins],
        num_items,
        rows.item_ids is not None,
        rows.keep_scores,
        (section.cpu().numpy() for section in sections),
    )


def _ids_on(device: torch.device, ids: Any) -> torch.Tensor:
    """int64; a tensor of another kind stays as it is."""
    given: torch.Tensor = ids
    if not isinstance(ids, torch.Tensor):
        given = torch.from_numpy(index_vector("SidTrie.build", "item_ids", ids))
    return given.to(device, torch.int64 if _is_integer(given) else given.dtype)


def _scores_on(device: torch.device, scores: Any) -> torch.Tensor:
    """float64; a tensor of another kind stays as it is."""
    given: torch.Tensor = scores
    if not isinstance(scores, torch.Tensor):
        given = torch.from_numpy(float_vector("SidTrie.build", "item_scores", scores))
    return given.to(device, given.dtype if given.is_complex() else torch.float64)


def _is_integer(tensor: torch.Tensor) -> bool:
    kind = tensor.dtype
    return not (kind.is_floating_point or kind.is_complex or kind == torch.bool)


def _order(rows: DeviceRows) -> torch.Tensor:
    """Rows [num_items] by SID, those of one SID by falling score, then by the hash of the id."""
    ids = rows.item_ids
    if ids is None:
        ids = torch.arange(len(rows.codes), device=rows.codes.device)
    order = _item_hash(ids).argsort()
    if rows.item_scores is not None:
        scores = rows.item_scores[order] + 0.0  # makes -0 and 0 one score
        order = order[scores.argsort(descending=True, stable=True)]
    for key in reversed(_keys(rows)):
        order = order[key[order].argsort(stable=True)]
    return order


def _keys(rows: DeviceRows) -> list[torch.Tensor]:
    """int64 [num_items] each, the first levels in the first: the codes packed into few numbers."""
    keys: list[torch.Tensor] = []
    free = 0
    for level, size in enumerate(rows.level_sizes):
        width, codes = (size - 1).bit_length(), rows.codes[:, level].long()
        if width > free:
            keys.append(codes)
            free = _KEY_BITS
        else:
            keys[-1] = keys[-1] << width | codes
        free -= width
    return keys


def _item_hash(ids: torch.Tensor) -> torch.Tensor:
    """int64 that sorts as the hash of docs/trie_file_format.md does without a sign."""

    def shifted(x: torch.Tensor, bits: int) -> torch.Tensor:
        part: torch.Tensor = x >> bits & (1 << (64 - bits)) - 1  # `>>` alone copies the sign
        return part

    x = ids + _signed(0x9E3779B97F4A7C15)
    x = (x ^ shifted(x, 30)) * _signed(0xBF58476D1CE4E5B9)
    x = (x ^ shifted(x, 27)) * _signed(0x94D049BB133111EB)
    return x ^ shifted(x, 31) ^ _signed(1 << 63)


def _signed(bits: int) -> int:
    return bits - (1 << 64) if bits >> 63 else bits


def _positions_by_id(ids: torch.Tensor | None, order: torch.Tensor) -> torch.Tensor | None:
    """Positions [num_items] by ascending id; None where an id occurs twice."""
    if ids is None:
        positions = torch.empty_like(order)
        positions[order] = torch.arange(len(order), device=order.device)
        return positions
    ascending, positions = ids[order].sort()
    return None if bool((ascending[1:] == ascending[:-1]).any()) else positions


def _nodes(rows: DeviceRows, order: torch.Tensor) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """The position where each node begins, of levels 0 to the last; the token of each but 0's."""
    begins, tokens = [order.new_zeros(1)], []
    differs = torch.zeros(len(order), dtype=torch.bool, device=order.device)
    differs[0] = True
    for level, size in enumerate(rows.level_sizes):
        codes = rows.codes[:, level].long()[order]
        differs[1:] |= codes[1:] != codes[:-1]
        begins.append(differs.nonzero().squeeze(1))
        tokens.append(codes[begins[-1]].to(torch.uint8 if size <= 256 else torch.uint16))
    return begins, tokens


def _levels(begins: list[torch.Tensor], tokens: list[torch.Tensor]) -> Iterator[torch.Tensor]:
    for (parents, children), token in zip(pairwise(begins), tokens, strict=True):
        yield from _partition(torch.searchsorted(children, parents), len(children))
        yield token


def _items_by_node(begins: list[torch.Tensor], num_items: int) -> Iterator[torch.Tensor]:
    last = len(begins) - 1
    for level, begin in enumerate(begins):
        if level == last or (1 <= level <= last - 2 and 8 * len(begin) <= num_items):
            yield from _partition(begin, num_items)


def _partition(begins: torch.Tensor, num_elements: int) -> Iterator[torch.Tensor]:
    """What is stored of [0, num_elements) cut at `begins`: nothing, or one section."""
    num_parts, num_words = len(begins), num_elements // 64 + 1
    if num_parts == num_elements:
        return
    bits = torch.cat((begins, begins.new_tensor([num_elements])))
    if 16 * num_words >= 4 * (num_parts + 1):
        yield bits.int()
        return
    word = bits // 64
    flags = bits.new_zeros(num_words).index_add_(0, word, 1 << bits % 64)
    before = torch.searchsorted(bits, 64 * torch.arange(num_words, device=bits.device))
    hint = bits.new_full((num_words,), num_words - 1)
    hint[: len(word[::64])] = word[::64]
    yield torch.stack((flags, before | hint << 32), dim=1)
