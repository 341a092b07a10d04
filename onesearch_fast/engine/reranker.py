"""Re-ordering what a search has found by a model of its own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from onesearch_fast.engine.requests import Hit, SearchRequest
from onesearch_fast.errors import invalid


class Reranker(Protocol):
    """Scores items for a request, higher first; a reward model is one. Called from many threads."""

    def rerank(self, request: SearchRequest, hits: Sequence[Hit]) -> Sequence[float]:
        """The reward of each hit, [hit]; -inf for one that should come last."""


def reranked(reranker: Reranker, request: SearchRequest, hits: Sequence[Hit]) -> list[Hit]:
    """`hits` by reward, those of equal reward in the order they had; each says its `reward`."""
    if not hits:
        return []
    rewards = [float(reward) for reward in reranker.rerank(request, tuple(hits))]
    if len(rewards) != len(hits) or any(math.isnan(reward) for reward in rewards):
        got = "a NaN" if len(rewards) == len(hits) else f"{len(rewards)} numbers"
        raise invalid("Searcher", "reranker", f"a reward for each of {len(hits)} hits", got)
    order = sorted(range(len(hits)), key=lambda place: -rewards[place])
    return [replace(hits[place], reward=rewards[place]) for place in order]
