"""The catalogue of each request of a batch: one for all, or tenants with one each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from onesearch_fast.errors import invalid
from onesearch_fast.index.live_store import LiveStore, Snapshot
from onesearch_fast.index.sid_trie import SidTrie

# What a search can run over.
Catalogue = SidTrie | Snapshot

# What callers may pass: one catalogue for all requests, or one per request.
CatalogueArgument = Catalogue | LiveStore | Sequence[Catalogue | LiveStore]

KINDS = "a SidTrie, a Snapshot or a LiveStore"

Ints = npt.NDArray[np.int64]


def latest(where: str, trie: Catalogue | LiveStore) -> Catalogue:
    """What to search now."""
    if isinstance(trie, LiveStore):
        return trie.snapshot()
    if not isinstance(trie, Catalogue):
        remedy = "make one with SidTrie.build"
        raise invalid(where, "trie", KINDS, type(trie), remedy, TypeError)
    return trie


@dataclass(frozen=True)
class Catalogues:
    """What the requests of a batch search in; all have the same level sizes.

    Attributes:
        members: one catalogue for all requests, or one per request.
    """

    members: tuple[Catalogue, ...]

    @classmethod
    def make(
        cls, where: str, trie: CatalogueArgument, level_sizes: Sequence[int], batch: int
    ) -> Catalogues:
        """Checks a caller's argument; every member must have `level_sizes`.

        Of a live store the latest snapshot is taken, the same one for all its requests.
        """
        given = _listed(where, trie, batch)
        pinned = {id(one): latest(where, one) for one in given}
        members = tuple(pinned[id(one)] for one in given)
        for member in members:
            if member.level_sizes != tuple(level_sizes):
                remedy = "requests of one batch share a model, and the model its level sizes"
                raise invalid(
                    where, "trie", f"level_sizes {tuple(level_sizes)}", member.level_sizes, remedy
                )
        first = members[0]
        return cls((first,) if all(member is first for member in members) else members)

    @cached_property
    def argument(self) -> Any:
        """The form in which operators take them."""
        return self.members[0] if len(self.members) == 1 else list(self.members)

    def per_request(self, batch: int) -> tuple[Catalogue, ...]:
        """The catalogue of each request."""
        return self.members * batch if len(self.members) == 1 else self.members

    @property
    def num_levels(self) -> int:
        """Codes per SID."""
        return self.members[0].num_levels

    def num_nodes(self, level: int) -> int:
        """Nodes of `level` in the largest of them."""
        return max(member.num_nodes(level) for member in self.members)

    def rows(self, rows: Sequence[int]) -> Catalogues:
        """Those of some of the requests."""
        if len(self.members) == 1:
            return self
        return Catalogues(tuple(self.members[row] for row in rows))

    def rank(self, codes: npt.NDArray[np.int32]) -> Ints:
        """The ranks of `codes` [batch, beam, level]: int64 [batch, beam], -1 where no SID is."""
        if len(self.members) == 1:
            flat = codes.reshape(-1, self.num_levels)
            return self.members[0].rank(flat).reshape(codes.shape[:2])
        return np.stack([one.rank(row) for one, row in zip(self.members, codes, strict=True)])

    def codes(self, rank: Ints) -> npt.NDArray[np.int32]:
        """The SIDs of `rank` [batch, beam]: int32 [batch, beam, level]; rank -1 gives -1."""
        if len(self.members) == 1:
            return self.members[0].codes(rank.reshape(-1)).reshape(*rank.shape, self.num_levels)
        return np.stack([one.codes(row) for one, row in zip(self.members, rank, strict=True)])

    def items(self, rank: Ints) -> tuple[Ints, Ints]:
        """The items of `rank` [batch, beam], as `SidTrie.items` of all of them in a row."""
        if len(self.members) == 1:
            return self.members[0].items(rank.reshape(-1))
        parts = [one.items(row) for one, row in zip(self.members, rank, strict=True)]
        counts = np.concatenate([np.diff(offsets) for _, offsets in parts])
        begin = np.concatenate((np.zeros(1, dtype=np.int64), np.cumsum(counts)))
        return np.concatenate([ids for ids, _ in parts]), begin


def _listed(where: str, trie: CatalogueArgument, batch: int) -> tuple[Catalogue | LiveStore, ...]:
    if isinstance(trie, Catalogue | LiveStore):
        return (trie,)
    if not isinstance(trie, Sequence) or isinstance(trie, str):
        remedy = "make one with SidTrie.build"
        raise invalid(where, "trie", f"{KINDS}, or one per request", type(trie), remedy, TypeError)
    if len(trie) != batch or not batch:
        raise invalid(where, "trie", f"one, or one per request ({batch})", f"{len(trie)} tries")
    return tuple(trie)
