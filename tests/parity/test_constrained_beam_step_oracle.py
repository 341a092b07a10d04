"""`constrained_beam_step` against an oracle in plain Python: sets of tuples, float64, no trie."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from onesearch_fast.index.sid_trie import SidTrie
from onesearch_fast.ops.constrained_beam_step import (
    NORMALIZERS,
    BeamStepResult,
    constrained_beam_step,
)

BACKENDS = ("cpu", "torch")
Sid = tuple[int, ...]


class Survivor(NamedTuple):
    score: float
    parent_beam: int
    token: int
    prefix: Sid


class Step(NamedTuple):
    """One request, in plain Python."""

    sids: frozenset[Sid]
    allowed: frozenset[Sid]
    level_sizes: tuple[int, ...]
    level: int
    prefixes: list[Sid | None]  # None is a dead beam
    logits: list[list[float]]
    beam_scores: list[float]
    log_normalizers: list[float]
    normalizer: str
    num_beams: int


def logsumexp(values: list[float]) -> float:
    if any(math.isnan(value) for value in values):
        return math.nan
    largest = max(values, default=-math.inf)
    if math.isinf(largest):
        return largest
    return largest + math.log(math.fsum(math.exp(value - largest) for value in values))


def extensions(step: Step, beam: int) -> list[Survivor]:
    """All candidates of one beam, by the definition of the operator."""
    prefix, row = step.prefixes[beam], step.logits[beam]
    if prefix is None:
        return []
    # With "vocab" the caller has read the row, of which only the children matter here.
    if step.normalizer != "vocab" and not logsumexp(row) < math.inf:
        return []

    def next_codes(sids: frozenset[Sid]) -> list[int]:
        return sorted({sid[step.level] for sid in sids if sid[: step.level] == prefix})

    log_z = {
        "level": logsumexp(row),
        "children": logsumexp([row[code] for code in next_codes(step.sids)]),
        "none": 0.0,
        "vocab": step.log_normalizers[beam],
    }[step.normalizer]
    if not math.isfinite(log_z):
        return []
    scores = {code: step.beam_scores[beam] + row[code] - log_z for code in next_codes(step.allowed)}
    return [
        Survivor(score, beam, code, (*prefix, code))
        for code, score in scores.items()
        if math.isfinite(score)
    ]


def candidates(step: Step) -> list[Survivor]:
    """All candidates of the request, best first."""
    found = [survivor for beam in range(len(step.prefixes)) for survivor in extensions(step, beam)]
    return sorted(found, key=lambda s: (-s.score, s.parent_beam, s.token))


def prefixes_of(sids: frozenset[Sid], level: int) -> list[Sid]:
    """The nodes of a level: node i is the i-th prefix in sorted order."""
    return sorted({sid[:level] for sid in sids})


def run(step: Step, backend: str) -> BeamStepResult:
    items = sorted(step.sids)
    trie = SidTrie.build(np.array(items, dtype=np.int32), step.level_sizes)
    nodes = prefixes_of(step.sids, step.level)
    use_log_normalizer = step.normalizer == "vocab"
    return constrained_beam_step(
        torch.tensor([step.logits], dtype=torch.float32),
        torch.tensor(
            [[-1 if prefix is None else nodes.index(prefix) for prefix in step.prefixes]],
            dtype=torch.int32,
        ),
        torch.tensor([step.beam_scores], dtype=torch.float32),
        trie,
        step.num_beams,
        step.level,
        normalizer=step.normalizer,
        log_normalizer=torch.tensor([step.log_normalizers]) if use_log_normalizer else None,
        filter=trie.filter(allow=np.array([sid in step.allowed for sid in items])),
        backend=backend,
    )


def near(a: float, b: float) -> bool:
    return math.isclose(a, b, rel_tol=1e-4, abs_tol=1e-4)


def assert_right(step: Step, result: BeamStepResult) -> None:
    wanted = candidates(step)
    count = int(result.count[0])
    assert count == min(len(wanted), step.num_beams)
    columns = (result.scores, result.parent_beam, result.tokens, result.node)
    survivors = list(zip(*(column[0, :count].tolist() for column in columns), strict=True))
    assert len({survivor[1:] for survivor in survivors}) == count
    by_id = {(s.parent_beam, s.token): s for s in wanted}
    next_nodes = prefixes_of(step.sids, step.level + 1)
    for (score, parent_beam, token, node), best in zip(survivors, wanted, strict=False):
        own = by_id[parent_beam, token]
        assert near(score, own.score)
        assert near(score, best.score)
        assert next_nodes[node] == own.prefix
    if step.normalizer == "none" and all(s.score.is_integer() for s in wanted):
        # Small integers add up exactly, so ties are ties in float32 too and the order is known.
        assert [survivor[1:3] for survivor in survivors] == [s[1:3] for s in wanted[:count]]


finite = st.floats(-20, 20, width=32)
rounded = st.integers(-2, 2).map(float)  # many ties
hostile = st.sampled_from([math.nan, math.inf, -math.inf])


@st.composite
def steps(draw: st.DrawFn) -> Step:
    level_sizes = tuple(draw(st.lists(st.integers(2, 5), min_size=2, max_size=4)))
    sid = st.tuples(*(st.integers(0, size - 1) for size in level_sizes))
    sids = draw(st.frozensets(sid, min_size=1, max_size=30))
    allowed = draw(st.one_of(st.just(sids), st.frozensets(st.sampled_from(sorted(sids)))))
    level = draw(st.integers(0, len(level_sizes) - 1))
    beam = st.one_of(st.none(), st.sampled_from(prefixes_of(sids, level)))
    prefixes = draw(st.lists(beam, min_size=1, max_size=1 if level == 0 else 6))
    value = draw(st.sampled_from([finite, rounded, st.one_of(finite, hostile)]))

    def column() -> list[float]:
        return draw(st.lists(value, min_size=len(prefixes), max_size=len(prefixes)))

    size = level_sizes[level]
    return Step(
        sids=sids,
        allowed=allowed,
        level_sizes=level_sizes,
        level=level,
        prefixes=prefixes,
        logits=[draw(st.lists(value, min_size=size, max_size=size)) for _ in prefixes],
        beam_scores=column(),
        log_normalizers=column(),
        normalizer=draw(st.sampled_from(NORMALIZERS)),
        num_beams=draw(st.integers(1, 12)),
    )


@pytest.mark.parametrize("backend", BACKENDS)
@given(step=steps())
def test_one_step_equals_the_oracle(backend: str, step: Step) -> None:
    assert_right(step, run(step, backend))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("normalizer", ["level", "children", "none"])
@given(data=st.data())
def test_a_whole_search_equals_brute_force(
    backend: str, normalizer: str, data: st.DataObject
) -> None:
    """With room for every prefix of a level, the search ranks all SIDs by their summed scores."""
    level_sizes = tuple(data.draw(st.lists(st.integers(2, 4), min_size=2, max_size=4)))
    sid = st.tuples(*(st.integers(0, size - 1) for size in level_sizes))
    sids = data.draw(st.frozensets(sid, min_size=1, max_size=20))
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    logits = {
        prefix: rng.normal(0, 3, size).astype(np.float32).tolist()
        for level, size in enumerate(level_sizes)
        for prefix in prefixes_of(sids, level)
    }

    def score(sid: Sid) -> float:
        total = 0.0
        for level, code in enumerate(sid):
            row = logits[sid[:level]]
            children = {other[level] for other in sids if other[:level] == sid[:level]}
            log_z = {
                "level": logsumexp(row),
                "children": logsumexp([row[child] for child in children]),
                "none": 0.0,
            }[normalizer]
            total += row[code] - log_z
        return total

    beams: list[tuple[Sid, float]] = [((), 0.0)]
    for level in range(len(level_sizes)):
        step = Step(
            sids=sids,
            allowed=sids,
            level_sizes=level_sizes,
            level=level,
            prefixes=[prefix for prefix, _ in beams],
            logits=[logits[prefix] for prefix, _ in beams],
            beam_scores=[beam_score for _, beam_score in beams],
            log_normalizers=[],
            normalizer=normalizer,
            num_beams=len(sids) + 1,
        )
        result = run(step, backend)
        nodes = prefixes_of(sids, level + 1)
        count = int(result.count[0])
        beams = [
            (nodes[node], beam_score)
            for node, beam_score in zip(
                result.node[0, :count].tolist(), result.scores[0, :count].tolist(), strict=True
            )
        ]
    assert {sid for sid, _ in beams} == sids
    assert all(near(beam_score, score(sid)) for sid, beam_score in beams)
    assert [beam_score for _, beam_score in beams] == sorted((s for _, s in beams), reverse=True)
