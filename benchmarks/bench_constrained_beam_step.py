"""The trie step alone: all levels of one search, one thread, the model left out.

The rival of the native step is STATIC's algorithm (static_reference.py) in two forms, with one
dense level and with two. All choose from the same beams and logits and take the log-sum-exp over
the level, and every level's survivors are compared before anything is timed. "given" is the native
step with the log-sum-exp taken beforehand. "a mean of the logits" chooses nothing: it reads what
every step with a log-sum-exp must read, and stands where STATIC has emptied the caches.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import pytest
import torch
from static_reference import StaticIndex
from torch.nn.functional import pad

from onesearch_fast.index.sid_trie import SidTrie
from onesearch_fast.ops import BeamStepResult, constrained_beam_step
from onesearch_fast.registry import Tolerance
from onesearch_fast.testing import assert_close, random_codes

NUM_ITEMS = 1_000_000
CATALOGUES = {
    f"{levels}x{codes}-{'zipf' if skew else 'uniform'}": ((codes,) * levels, skew)
    for levels, codes, skew in (
        (4, 256, 0.0),
        (4, 2048, 0.0),
        (4, 2048, 1.0),
        (3, 8192, 0.0),
        (3, 8192, 1.0),
    )
}
SHAPES = ((1, 32), (1, 256), (8, 128))  # batch, num_beams
TOLERANCE = Tolerance(1e-5, 1e-5)

# scores, parent beams and tokens of one level's survivors, each [batch, num_beams]
Survivors = tuple[torch.Tensor, ...]


@cache
def catalogue(name: str) -> tuple[SidTrie, StaticIndex]:
    level_sizes, skew = CATALOGUES[name]
    codes = random_codes(NUM_ITEMS, level_sizes, skew=skew)
    return SidTrie.build(codes, level_sizes), StaticIndex.build(codes, level_sizes[0])


@dataclass(frozen=True)
class Level:
    """The beams that enter one level, in the numbering of each rival, all alive."""

    level: int
    logits: torch.Tensor
    log_normalizer: torch.Tensor
    beam_scores: torch.Tensor
    node: torch.Tensor
    state: torch.Tensor


@dataclass(frozen=True)
class Search:
    """One search, the same for every rival: random logits and the beams that they lead to."""

    trie: SidTrie
    static: StaticIndex
    num_beams: int
    levels: list[Level]

    @classmethod
    def make(cls, name: str, batch: int, num_beams: int) -> Search:
        trie, static = catalogue(name)
        generator = torch.Generator().manual_seed(0)
        beam_scores = torch.zeros(batch, 1)
        node = torch.zeros(batch, 1, dtype=torch.int32)
        state = node.long()
        levels = []
        for level, size in enumerate(trie.level_sizes):
            logits = 3 * torch.randn((*node.shape, size), generator=generator)
            levels.append(Level(level, logits, logits.logsumexp(-1), beam_scores, node, state))
            best = constrained_beam_step(logits, node, beam_scores, trie, num_beams, level)
            assert (best.count == num_beams).all()
            beam_scores, node = best.scores, best.node
            state = static.state_of(level + 1, best.tokens.long(), node.long())
        return cls(trie, static, num_beams, levels)

    def ours(self, backend: str, normalizer: str = "level") -> Callable[[], list[Survivors]]:
        """A function that runs all levels into memory of its own, as the engine does."""
        batch = self.levels[0].logits.shape[0]
        results = [BeamStepResult.empty(batch, self.num_beams) for _ in self.levels]

        def run() -> list[Survivors]:
            for level, result in zip(self.levels, results, strict=True):
                constrained_beam_step(
                    level.logits,
                    level.node,
                    level.beam_scores,
                    self.trie,
                    self.num_beams,
                    level.level,
                    normalizer=normalizer,
                    log_normalizer=level.log_normalizer if normalizer == "vocab" else None,
                    out=result,
                    backend=backend,
                )
            return [(result.scores, result.parent_beam, result.tokens) for result in results]

        return run

    def by_static(self, index: StaticIndex) -> Callable[[], list[Survivors]]:
        """A function that runs all levels by STATIC's algorithm."""
        return lambda: [
            index.step(level.logits, level.state, level.beam_scores, self.num_beams, i)[:3]
            for i, level in enumerate(self.levels)
        ]

    def mean_of_logits(self, survivors: list[Survivors]) -> Callable[[], list[Survivors]]:
        """A function that reads all logits once, and returns `survivors`."""

        def run() -> list[Survivors]:
            for level in self.levels:
                level.logits.mean()
            return survivors

        return run


def assert_same_survivors(ours: list[Survivors], theirs: list[Survivors]) -> None:
    """Scores equal within tolerance, ids wherever no neighbour's score is as near as that."""
    for (scores, parent, token), (their_scores, their_parent, their_token) in zip(
        ours, theirs, strict=True
    ):
        assert_close(their_scores, scores, TOLERANCE, "scores")
        gaps = -scores.diff(dim=1)
        above, below = pad(gaps, (1, 0), value=torch.inf), pad(gaps, (0, 1), value=0.0)
        apart = torch.minimum(above, below) > 1e-4
        assert torch.equal(parent[apart].long(), their_parent[apart].long())
        assert torch.equal(token[apart].long(), their_token[apart].long())


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: f"{shape[0]}x{shape[1]}")
@pytest.mark.parametrize("name", CATALOGUES)
def test_all_levels(race: Callable[..., None], name: str, shape: tuple[int, int]) -> None:
    search = Search.make(name, *shape)
    ours = search.ours("cpu")
    rivals = {
        "cpu": ours,
        "cpu, log-sum-exp given": search.ours("cpu", "vocab"),
        "STATIC's algorithm": search.by_static(search.static),
        "a mean of the logits": search.mean_of_logits(ours()),
        "STATIC's algorithm, two dense levels": search.by_static(
            search.static.with_two_dense_levels()
        ),
    }
    race(rivals, assert_same_survivors)
