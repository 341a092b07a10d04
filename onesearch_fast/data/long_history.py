"""Long histories: tokens behind the vocabulary that stand for what a prompt no longer shows.

A prompt shows a user's last events. Before them it may hold a few tokens that name the user and how
many events came before; who embeds the prompt puts vectors made of those events at their places
(`nn.LongHistoryQFormer`). So rows of tokens are all that passes between, in training and serving.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import numpy.typing as npt

from onesearch_fast.errors import invalid

IntArray = npt.NDArray[np.int32]


@dataclass(frozen=True)
class LongHistoryConfig:
    """What stands for the events before those that a prompt shows.

    Attributes:
        num_vectors: vectors in a prompt.
        num_heads: of the attention that makes them; divides the model's width.
        max_items: of each behaviour, the latest.
    """

    num_vectors: int = 3
    num_heads: int = 4
    max_items: int = 1000

    def __post_init__(self) -> None:
        for name in ("num_vectors", "num_heads", "max_items"):
            if getattr(self, name) < 1:
                raise invalid("LongHistoryConfig", name, "at least 1", getattr(self, name))


class PastItem(Protocol):
    """An event of a user."""

    @property
    def row(self) -> int: ...
    @property
    def event(self) -> str: ...
    @property
    def query(self) -> str | None: ...


@dataclass(frozen=True, eq=False)
class LongHistories:
    """The pasts of some users, and the tokens that name their beginnings.

    Token `first_token + num_vectors * n + v` is vector v of the user of event n, up to and with it.

    Attributes:
        first_token: the vocabulary's size.
        codes: int32 [event, level], user by user, oldest first.
        kinds: bool [event, 3]: clicks, orders, searches, as in `nn.HISTORIES`.
        begin: user -> first event.
    """

    config: LongHistoryConfig
    first_token: int
    codes: IntArray
    kinds: npt.NDArray[np.bool_]
    begin: Mapping[Hashable, int]

    @classmethod
    def make(
        cls,
        config: LongHistoryConfig,
        first_token: int,
        pasts: Iterable[tuple[Hashable, Sequence[PastItem]]],
        codes_of: Callable[[Sequence[int]], IntArray],
    ) -> LongHistories:
        """An order is a click as well, and whatever has a query came from a search.

        Args:
            pasts: (user, events), events oldest first.
            codes_of: item rows -> integers [row, level].
        """
        begin: dict[Hashable, int] = {}
        events: list[PastItem] = []
        for user, past in pasts:
            begin[user] = len(events)
            events += past
        kinds = [(True, event.event == "order", event.query is not None) for event in events]
        codes = codes_of([event.row for event in events])
        return cls(config, first_token, codes, np.array(kinds, bool).reshape(-1, 3), begin)

    def tokens(self, user: Hashable, num_events: int) -> list[int] | None:
        """What stands for the first events of a user; None before the first."""
        if not num_events:
            return None
        last = self.begin[user] + num_events - 1
        first = self.first_token + last * self.config.num_vectors
        return list(range(first, first + self.config.num_vectors))

    def codes_of(self, tokens: npt.ArrayLike) -> IntArray:
        """int32 [history, behaviour, slot, level] of histories by a token of each, -1 behind."""
        lasts = (np.asarray(tokens) - self.first_token) // self.config.num_vectors
        begins = self._begins[np.searchsorted(self._begins, lasts, side="right") - 1]
        spans = [np.arange(*span) for span in zip(begins, lasts + 1, strict=True)]
        picked = [
            [span[kind][-self.config.max_items :] for kind in self.kinds[span].T] for span in spans
        ]
        slots = max((len(items) for lists in picked for items in lists), default=0)
        shape = (len(picked), self.kinds.shape[1], slots, self.codes.shape[1])
        codes = np.full(shape, -1, dtype=np.int32)
        for history, lists in enumerate(picked):
            for behaviour, items in enumerate(lists):
                codes[history, behaviour, : len(items)] = self.codes[items]
        return codes

    @cached_property
    def _begins(self) -> npt.NDArray[np.int64]:
        return np.fromiter(self.begin.values(), np.int64)
