"""Why an item is not in an answer: the catalogue, the filter, or a level of the search."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from onesearch_fast.engine.beam_search import SearchSettings
from onesearch_fast.engine.catalogues import Catalogue, Catalogues
from onesearch_fast.engine.deadline import Deadline
from onesearch_fast.engine.filters import Filters
from onesearch_fast.engine.prompt_batch import PromptBatch
from onesearch_fast.engine.result import GenerateResult
from onesearch_fast.engine.search_batch import Rows, SearchBatch
from onesearch_fast.errors import invalid
from onesearch_fast.index.item_filter import ItemFilter
from onesearch_fast.index.live_store import Snapshot
from onesearch_fast.ops.constrained_beam_step import BeamStepResult

Reason = Literal["found", "absent", "filtered", "dead", "outranked"]


@dataclass(frozen=True)
class LevelReport:
    """One level of the search, as the target passed it.

    Attributes:
        code: the target's.
        score: of the target's prefix up to here, in nats.
        threshold: score of the last beam kept; -inf where there was room for more.
        place: the prefix's place among the beams kept, 0 for the best; None where it is not one.
    """

    code: int
    score: float
    threshold: float
    place: int | None


@dataclass(frozen=True)
class WhyNot:
    """What became of one item or SID in one search; `str` says it in sentences.

    Attributes:
        reason: "found"; "absent", not in the catalogue; "filtered", the filter refuses every item
            asked about; "dead", the model's logits on the way are not numbers; or "outranked", a
            level kept better beams only.
        item_id: what was asked for, where it was an item.
        codes: the SID, local to its levels; None where the catalogue does not know the item.
        num_beams: of the search.
        version: of the snapshot searched; None for a trie.
        refused_by: the conditions of the filter that do not hold; empty for a filter that was not
            given as a condition.
        levels: the target's way, down to where it died or to the end; empty unless it was scored.
        lost_at: the first level whose beams do not hold it; None where all do.
        place: its place among all SIDs that may be found, 0 for the best; None where the widest
            search that was tried does not reach it.
        place_is_exact: whether no SID outside that search can stand before it.
        sufficient_beams: with so many beams it would have been found; None where none tried does.
    """

    reason: Reason
    item_id: int | None
    codes: tuple[int, ...] | None
    num_beams: int
    version: int | None
    refused_by: tuple[str, ...] = ()
    levels: tuple[LevelReport, ...] = ()
    lost_at: int | None = None
    place: int | None = None
    place_is_exact: bool = False
    sufficient_beams: int | None = None

    def __str__(self) -> str:
        lines = [f"{self._target()}: {self._verdict()}"]
        for level, report in enumerate(self.levels):
            lines.append(f"  level {level}, code {report.code}: {_passage(report)}")
        if self.sufficient_beams is not None and self.lost_at is not None:
            lines.append(f"  {self.sufficient_beams} beams are enough to find it")
        return "\n".join(lines)

    def _target(self) -> str:
        sid = "" if self.codes is None else f"SID {self.codes}"
        item = "" if self.item_id is None else f"item {self.item_id}"
        return f"{item} ({sid})" if item and sid else item or sid

    def _verdict(self) -> str:
        where = "the catalogue" if self.version is None else f"version {self.version}"
        if self.reason == "absent":
            return f"not in {where}"
        if self.reason == "filtered":
            conditions = " and ".join(f"({one})" for one in self.refused_by)
            return f"refused by the filter{': ' + conditions if conditions else ''}"
        if self.reason == "dead":
            return f"the model's logits are not numbers from level {len(self.levels)} on"
        if self.reason == "found":
            return f"found at place {self.place} of {self.num_beams} beams"
        return f"fell out of {self.num_beams} beams at level {self.lost_at}{self._rank()}"

    def _rank(self) -> str:
        if self.place is None:
            return ""
        return f"; its score is {'' if self.place_is_exact else 'at best '}in place {self.place}"


def _passage(report: LevelReport) -> str:
    if report.place is not None:
        return f"score {report.score:.4f}, place {report.place}"
    return f"score {report.score:.4f}, {report.threshold:.4f} was needed"


class BeamTrace:
    """The beams of one request, level by level."""

    def __init__(self) -> None:
        self.nodes: list[torch.Tensor] = []
        self.scores: list[torch.Tensor] = []

    def see(self, beams: BeamStepResult, line: int) -> None:
        """Notes the beams kept; they are overwritten later."""
        kept = int(beams.count[line])
        self.nodes.append(beams.node[line, :kept].cpu().clone())
        self.scores.append(beams.scores[line, :kept].cpu().clone())

    def place(self, level: int, node: int) -> int | None:
        """Where a node stands among the beams after `level`."""
        found = (self.nodes[level] == node).nonzero()
        return int(found[0]) if len(found) else None


class Trace:
    """The beams of every request of a batch, for a search that is to be explained."""

    def __init__(self, batch: int) -> None:
        self.requests = [BeamTrace() for _ in range(batch)]

    def see(self, rows: Rows, _level: int, beams: BeamStepResult) -> None:
        """An `Observer` of the part of the batch that holds these rows."""
        for line, row in enumerate(rows):
            self.requests[row].see(beams, line)


@dataclass(frozen=True)
class Target:
    """What is asked about: items of one SID in one catalogue."""

    catalogue: Catalogue
    item_id: int | None
    codes: tuple[int, ...] | None
    item_ids: npt.NDArray[np.int64]

    @classmethod
    def make(cls, catalogue: Catalogue, item_id: int | None, codes: Sequence[int] | None) -> Target:
        """From what a caller asks about: one of the two."""
        if (item_id is None) == (codes is None):
            got = "neither" if codes is None else "both"
            raise invalid("Engine", "item_id", "an item_id or codes", got)
        if codes is not None:
            items, _ = catalogue.items(catalogue.rank([codes]))
            return cls(catalogue, None, tuple(map(int, codes)), items)
        row = catalogue.item_codes([item_id])[0].tolist()
        return cls(catalogue, item_id, tuple(row) if row[0] >= 0 else None, np.array([item_id]))

    @property
    def exists(self) -> bool:
        return self.codes is not None and len(self.item_ids) > 0

    def allowed_by(self, filter: ItemFilter | None) -> bool:
        return filter is None or bool(filter.contains(self.item_ids).any())

    def refusing(self, parts: Sequence[tuple[str, ItemFilter]]) -> tuple[str, ...]:
        """The texts of those that let none of its items through."""
        return tuple(text for text, one in parts if not self.allowed_by(one))

    def alone(self) -> ItemFilter:
        """The filter that lets only the target through."""
        return self.catalogue.filter(allow=self.item_ids)

    def report(self, reason: Reason, num_beams: int, **findings: Any) -> WhyNot:
        version = self.catalogue.version if isinstance(self.catalogue, Snapshot) else None
        return WhyNot(reason, self.item_id, self.codes, num_beams, version, **findings)


Search = Callable[[SearchBatch, SearchSettings, Trace], GenerateResult]


def explain(
    target: Target,
    prompt: PromptBatch,
    filter: ItemFilter | None,
    settings: SearchSettings,
    max_beams: int,
    search: Search,
) -> WhyNot:
    """Searches for all and, as a second request, for the target alone; then more widely."""
    widths = settings.widths
    if not target.exists:
        return target.report("absent", widths[-1])
    both = _batch(target, prompt, [filter, target.alone()], (max(widths), 1))
    trace = Trace(len(both))
    result = search(both, settings, trace)
    found, alone = trace.requests
    report = _passage_of(target, alone, found, result, widths)
    if report.reason != "outranked" or max_beams <= max(widths):
        return report
    wide = Trace(1)
    wide_settings = replace(settings, widths=(max_beams,) * len(widths))
    result = search(_batch(target, prompt, [filter], (max_beams,)), wide_settings, wide)
    return _with_wider_search(report, alone, wide.requests[0], result)


def _batch(
    target: Target, prompt: PromptBatch, filters: Filters, num_beams: tuple[int, ...]
) -> SearchBatch:
    """The same prompt in the target's catalogue, once for each width."""
    times = len(num_beams)
    catalogues = Catalogues((target.catalogue,))
    deadlines = (Deadline(),) * times
    return SearchBatch(prompt.rows([0] * times), catalogues, filters, num_beams, deadlines)


def _passage_of(
    target: Target,
    alone: BeamTrace,
    search: BeamTrace,
    result: GenerateResult,
    widths: Sequence[int],
) -> WhyNot:
    """What became of a target that was searched for alone, beside the search for all."""
    assert target.codes is not None, "only a target that exists is searched for"
    path = [int(nodes[0]) for nodes in alone.nodes if len(nodes)]
    levels = []
    for level, node in enumerate(path):
        kept = search.scores[level]
        full = len(kept) >= widths[level]
        levels.append(
            LevelReport(
                code=target.codes[level],
                score=float(alone.scores[level][0]),
                threshold=float(kept[-1]) if full else -math.inf,
                place=search.place(level, node),
            )
        )
    places = [report.place for report in levels]
    lost_at = places.index(None) if None in places else None
    reason: Reason = "found" if lost_at is None else "outranked"
    if lost_at is None and len(path) < len(target.codes):
        reason = "dead"
    return target.report(
        reason,
        widths[-1],
        levels=tuple(levels),
        lost_at=lost_at,
        place=places[-1] if reason == "found" else None,
        place_is_exact=reason == "found" and _proven(result, places[-1]),
    )


def _with_wider_search(
    narrow: WhyNot, alone: BeamTrace, wide: BeamTrace, result: GenerateResult
) -> WhyNot:
    """`narrow`, and where a search with more beams finds the target."""
    places = [wide.place(level, int(nodes[0])) for level, nodes in enumerate(alone.nodes)]
    if any(place is None for place in places):
        return narrow
    known = [place for place in places if place is not None]
    return replace(
        narrow,
        place=known[-1],
        place_is_exact=_proven(result, known[-1]),
        # Narrower searches have fewer rivals, so that it stands no lower in them.
        sufficient_beams=max(known) + 1,
    )


def _proven(result: GenerateResult, place: int | None) -> bool:
    """Whether the SIDs up to `place` of the first request are the best of all."""
    certified = None if place is None else result.certified(place + 1)
    return certified is not None and bool(certified[0])
