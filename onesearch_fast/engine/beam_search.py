"""The search over the trie, level by level."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle
from typing import Protocol

import torch

from onesearch_fast.engine.decoding import BeamDecoder, vocab_log_normalizer
from onesearch_fast.engine.prompt_reader import PromptReader
from onesearch_fast.engine.search_batch import SearchBatch
from onesearch_fast.engine.search_options import NO_OPTIONS, LevelOptions, SearchOptions
from onesearch_fast.engine.statistics import Stopwatch
from onesearch_fast.models import DecoderModel
from onesearch_fast.ops.constrained_beam_step import BeamStepResult, constrained_beam_step

# Sees the beams of each level as they are chosen; they are overwritten two levels later.
Observer = Callable[[int, BeamStepResult], None]


@dataclass(frozen=True)
class CodeRanges:
    """Where codes stand in the vocabulary: level l owns ids [offsets[l], offsets[l] + sizes[l])."""

    offsets: tuple[int, ...]
    sizes: tuple[int, ...]

    def bounds(self, level: int) -> tuple[int, int]:
        """First and one past the last token id of `level`."""
        return self.offsets[level], self.offsets[level] + self.sizes[level]


class WholeSearch(Protocol):
    """Another way to make a search, for those that it can."""

    def search(
        self, batch: SearchBatch, settings: SearchSettings, watch: Stopwatch
    ) -> Beams | None:
        """As `constrained_search`; None for what it cannot do."""


@dataclass(frozen=True)
class SearchSpace:
    """A model, how it reads prompts, and where in its vocabulary it says codes.

    Attributes:
        graphs: what makes whole searches where it can.
    """

    model: DecoderModel
    reader: PromptReader
    ranges: CodeRanges
    graphs: WholeSearch | None = None


@dataclass(frozen=True)
class SearchSettings:
    """What all requests of a call share.

    Attributes:
        widths: the most beams kept after each level; the last is the width of the result.
        normalizer, options: as of `Engine.generate`.
    """

    widths: tuple[int, ...]
    normalizer: str
    options: SearchOptions = NO_OPTIONS

    @property
    def certifiable(self) -> bool:
        """Whether what is dropped bounds what can be missed: scores fall, and alone decide."""
        return self.normalizer != "none" and self.options.keeps_certificates


@dataclass(frozen=True)
class Beams:
    """The beams of a finished search, best first.

    codes [batch, beam, level] int32, scores [batch, beam] float32, rank [batch, beam] int64,
    count [batch] int32; entries at or past `count` are -1 and -inf. levels_scored [batch] int32:
    how many levels the model has decided; the others were completed without it. cached_tokens
    [batch] int32, on the CPU: how many tokens of the prompt a cache knew. best_dropped [batch]
    float32: of all levels the largest of `BeamStepResult`'s. perturbed [batch, beam] float32: what
    noisy beams are ordered by, None without noise.
    """

    codes: torch.Tensor
    scores: torch.Tensor
    rank: torch.Tensor
    count: torch.Tensor
    levels_scored: torch.Tensor
    cached_tokens: torch.Tensor
    best_dropped: torch.Tensor
    perturbed: torch.Tensor | None = None


@torch.inference_mode()
def constrained_search(
    space: SearchSpace,
    batch: SearchBatch,
    settings: SearchSettings,
    watch: Stopwatch,
    observe: Observer | None = None,
) -> Beams:
    """The best SIDs of its catalogue for every request, by `ops.constrained_beam_step`.

    The prompt is read once; level 0 is decided from its last state, and the last level's codes are
    never fed back, so a search makes num_levels - 1 passes over the beams. Once a deadline is over,
    the levels that are left are completed without the model.
    """
    if space.graphs is not None and observe is None:
        whole = space.graphs.search(batch, settings, watch)
        if whole is not None:
            return whole
    deadline = min(batch.deadlines)
    search = _Search(space, batch, settings)
    beams, scored = search.root(), 0
    dropped = torch.full_like(beams.best_dropped, -math.inf)
    for level in range(len(settings.widths)):
        if scored == level and not deadline.passed():
            beams = search.step(level, beams, watch)
            scored += 1
        else:
            beams = search.complete(level, beams)
        dropped = torch.maximum(dropped, beams.best_dropped)
        if observe is not None:
            observe(level, beams)
    rank = beams.node.long()
    codes = torch.from_numpy(batch.catalogues.codes(rank.cpu().numpy())).to(rank.device)
    levels_scored = torch.full_like(beams.count, scored)
    cached_tokens = torch.tensor(search.cached_tokens, dtype=torch.int32)
    return Beams(
        codes,
        beams.scores,
        rank,
        beams.count,
        levels_scored,
        cached_tokens,
        dropped,
        beams.perturbed,
    )


class _Search:
    """The model, the memory and the arguments of one search's steps."""

    def __init__(self, space: SearchSpace, batch: SearchBatch, settings: SearchSettings) -> None:
        self._space = space
        self._batch = batch
        self._normalizer = settings.normalizer
        # More beams than a level has nodes would only be dead weight in the model.
        limits = [batch.catalogues.num_nodes(level + 1) for level in range(len(settings.widths))]
        limits[-1] = settings.widths[-1]
        most = max(batch.num_beams)
        self._widths = [min(*pair) for pair in zip(settings.widths, limits, strict=True)]
        self._widths[:-1] = [min(width, most) for width in self._widths[:-1]]
        self._options = LevelOptions(settings.options, batch, self._widths, space.model.device)
        self._decoder: BeamDecoder | None = None
        self.cached_tokens = (0,) * len(batch)
        # A step reads the result before it, so two of each width take turns.
        self._results = {
            width: cycle([self._empty(width) for _ in range(2)]) for width in {*self._widths}
        }

    def _empty(self, width: int) -> BeamStepResult:
        device, noisy = self._space.model.device, self._options.noisy
        return BeamStepResult.empty(len(self._batch), width, device, perturbed=noisy)

    def root(self) -> BeamStepResult:
        """One beam a request, at the root of its trie."""
        beams = self._empty(1)
        for column in (beams.scores, beams.parent_beam, beams.tokens, beams.node):
            column.zero_()
        if beams.perturbed is not None:
            beams.perturbed.zero_()
        return beams

    def step(self, level: int, beams: BeamStepResult, watch: Stopwatch) -> BeamStepResult:
        """The beams after `level`, as the model decides it."""
        model = self._space.model
        hidden = self._read(watch) if level == 0 else self._advance(level, beams)
        begin, end = self._space.ranges.bounds(level)
        logits, log_normalizer = model.logits(hidden, begin, end), None
        if self._normalizer == "vocab":
            log_normalizer = vocab_log_normalizer(model, hidden, logits, begin)
        watch.model[level] += watch.lap()
        chosen = self._choose(level, beams, logits, self._normalizer, log_normalizer)
        watch.selection[level] += watch.lap()
        return chosen

    def complete(self, level: int, beams: BeamStepResult) -> BeamStepResult:
        """The beams after `level` as if each code that leads on were equally likely."""
        size = self._space.ranges.sizes[level]
        even = torch.zeros(1, device=beams.scores.device).expand(*beams.scores.shape, size)
        return self._choose(level, beams, even, "children", None)

    def _read(self, watch: Stopwatch) -> torch.Tensor:
        """Reads the prompts: the state that decides level 0."""
        model, passes = self._space.model, self._widths[:-1]
        read = self._space.reader.read(model, self._batch.prompts)
        self._decoder = BeamDecoder(model, read.prefilled, len(passes), max(passes))
        self.cached_tokens = read.cached_tokens
        watch.prefill += watch.lap()
        return read.prefilled.hidden

    def _advance(self, level: int, beams: BeamStepResult) -> torch.Tensor:
        assert self._decoder is not None, "level 0 comes first"
        tokens = beams.tokens.clamp(min=0) + self._space.ranges.offsets[level - 1]
        # A dead beam continues beam 0, which changes nothing.
        return self._decoder.advance(tokens.long(), beams.parent_beam.clamp(min=0).long())

    def _choose(
        self,
        level: int,
        beams: BeamStepResult,
        logits: torch.Tensor,
        normalizer: str,
        log_normalizer: torch.Tensor | None,
    ) -> BeamStepResult:
        width = self._widths[level]
        return constrained_beam_step(
            logits,
            beams.node,
            beams.scores,
            self._batch.catalogues.argument,
            width,
            level,
            normalizer=normalizer,
            log_normalizer=log_normalizer,
            filter=self._batch.filters,
            options=self._options.at(level, beams),
            out=next(self._results[width]),
        )
