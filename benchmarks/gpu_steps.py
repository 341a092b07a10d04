"""The whole constrained step against STATIC's algorithm, and every way to cut it.

STATIC has one dense level or two, and runs eager, as a graph, and compiled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from gpu_operators import Row, Rows, with_gpu_kernels
from gpu_timing import Target, Work
from static_reference import StaticIndex

from onesearch_fast import _C
from onesearch_fast.index import SidTrie
from onesearch_fast.kernels.cuda._device import slots_on
from onesearch_fast.ops import BeamStepOptions, BeamStepResult, GumbelNoise, constrained_beam_step
from onesearch_fast.registry import why_not
from onesearch_fast.testing import random_codes
from onesearch_fast.testing.cases.constrained_beam_step import random_step, random_trie
from onesearch_fast.testing.devices import on_device

LEVEL_SIZES = (2048,) * 4
# batch, num_beams of the whole step on codes of 2048
STEPS = ((8, 256), (1, 256), (1, 1024), (64, 256))
# shares and whether they are a cluster
CUTS = ((1, True), (2, True), (4, True), (8, True), (8, False), (16, False), (32, False))


def measure(target: Target) -> Rows:
    """Whole steps, then the cuts that `plan_shares` is chosen by; compilations, slowest, last."""
    steps = STEPS[:1] if target.dry else STEPS
    for level in (1, 2):
        for batch, num_beams in steps:
            label = {"level": level, "batch": batch, "num_beams": num_beams}
            yield label, partial(race, target, level, batch, num_beams)
    for batch, num_beams in steps:
        label = {"batch": batch, "num_beams": num_beams, "cuts": len(CUTS)}
        yield label, partial(sweep, target, batch, num_beams)
    for level in (1, 2):
        for batch, num_beams in steps:
            label = {"level": level, "batch": batch, "num_beams": num_beams, "compiled": True}
            yield label, partial(race_compiled, target, level, batch, num_beams)


@cache
def codes(target: Target) -> np.ndarray:
    return random_codes(3000 if target.dry else 10_000_000, LEVEL_SIZES)


@cache
def trie(target: Target) -> SidTrie:
    return SidTrie.build(codes(target), LEVEL_SIZES)


@cache
def static(target: Target) -> dict[str, StaticIndex]:
    """One dense level, and two."""
    index = StaticIndex.build(codes(target), LEVEL_SIZES[0])
    indexes = {"STATIC": index, "STATIC, two dense levels": index.with_two_dense_levels()}
    return {name: one.to(target.device) for name, one in indexes.items()}


@dataclass(frozen=True)
class Beams:
    """The beams that enter a level, in both numberings."""

    arguments: dict[str, Any]
    state: torch.Tensor


@cache
def beams_at(target: Target, level: int, batch: int, num_beams: int) -> Beams:
    """Those that random logits leave, level by level."""
    generator = torch.Generator().manual_seed(level)
    node = torch.zeros(batch, 1, dtype=torch.int32)
    beam_scores, tokens = torch.zeros(batch, 1), node
    for at in range(level):
        logits = 3 * torch.randn(*node.shape, LEVEL_SIZES[at], generator=generator)
        best = constrained_beam_step(logits, node, beam_scores, trie(target), num_beams, at)
        node, beam_scores, tokens = best.node, best.scores, best.tokens
    state = static(target)["STATIC"].state_of(level, tokens.long(), node.long())
    logits = 3 * torch.randn(*node.shape, LEVEL_SIZES[level], generator=generator)
    arguments = {
        "logits": logits.bfloat16(),
        "node": node,
        "beam_scores": beam_scores,
        "trie": trie(target),
        "num_beams": num_beams,
        "level": level,
        "normalizer": "level",
    }
    return Beams(on_device(arguments, target.device), state.to(target.device))


def own_steps(target: Target, beams: Beams) -> Iterator[tuple[str, Work]]:
    """Name and function of each of ours, which returns scores."""
    given = beams.arguments
    for backend in target.backends:
        out = BeamStepResult.empty(len(given["logits"]), given["num_beams"], target.device)

        def ours(backend: str = backend, out: BeamStepResult = out) -> torch.Tensor:
            return constrained_beam_step(**given, out=out, backend=backend).scores

        yield backend, ours


def static_steps(target: Target, beams: Beams) -> Iterator[tuple[str, Work]]:
    """STATIC's, by every index of it that takes this level in a way of its own."""
    given = beams.arguments
    logits, level = given["logits"], given["level"]
    for name, index in list(static(target).items())[: 2 if level == 1 else 1]:

        def theirs(index: StaticIndex = index) -> torch.Tensor:
            known = (logits, beams.state, given["beam_scores"])
            return index.step(*known, given["num_beams"], level)[0]

        yield name, theirs


def race(target: Target, level: int, batch: int, num_beams: int) -> Row:
    beams = beams_at(target, level, batch, num_beams)
    ours = dict(own_steps(target, beams))
    want = ours[target.backends[0]]().clone()
    return times(target, ours | dict(static_steps(target, beams)), want)


def race_compiled(target: Target, level: int, batch: int, num_beams: int) -> Row:
    """STATIC's alone, by torch's compiler."""
    beams = beams_at(target, level, batch, num_beams)
    want = dict(own_steps(target, beams))[target.backends[0]]().clone()
    compiled = partial(torch.compile, mode="max-autotune-no-cudagraphs", dynamic=False)
    rivals = {
        f"{name}, compiled": step if target.dry else compiled(step)
        for name, step in static_steps(target, beams)
    }
    return times(target, rivals, want)


def times(target: Target, rivals: dict[str, Work], want: torch.Tensor) -> Row:
    row: Row = {}
    for name, step in rivals.items():
        torch.testing.assert_close(step(), want, rtol=1e-4, atol=1e-4)
        row[f"{name}, eager"] = target.microseconds(step, ahead=False)
        row[f"{name}, graphed"] = target.microseconds(target.graphed(step))
    return row


def sweep(target: Target, batch: int, num_beams: int) -> Row:
    beams = beams_at(target, 1, batch, num_beams)
    row: Row = {}
    want = None
    for shares, cluster in CUTS:
        work, out = planned(target, beams.arguments, shares, cluster)
        work()
        got = out.scores.clone()
        want = got if want is None else want
        assert torch.equal(got, want), "a cut changes the bits"
        name = f"{shares} {'clustered' if cluster else 'merged'}"
        row[name] = target.microseconds(target.graphed(work))
    return row


def planned(
    target: Target, arguments: dict[str, Any], shares: int, cluster: bool
) -> tuple[Work, BeamStepResult]:
    """A step that is cut as said, not as planned, and where its result will be."""
    logits, num_beams = arguments["logits"], arguments["num_beams"]
    batch = len(logits)
    own = arguments.get("filter")
    slots = slots_on([(arguments["trie"], own)] * batch, logits.device)
    lists = batch * shares * (12 * (num_beams + 1) + 4)
    memory = torch.empty(lists, dtype=torch.uint8, device=logits.device)
    out = BeamStepResult.empty(batch, num_beams, logits.device)
    names = ("logits", "node", "beam_scores", "trie", "num_beams", "level", "normalizer")
    given = [arguments[name] for name in names]
    if target.dry:
        return partial(constrained_beam_step, **arguments, out=out), out
    step: Callable[..., None] = _C.constrained_beam_step_cuda
    return partial(step, *given, None, own, None, out, slots, shares, cluster, memory), out


def small_case(target: Target) -> None:
    """Steps of both designs, and a case of every operator, for compute-sanitizer."""
    for operator in with_gpu_kernels():
        dtype = torch.bfloat16 if torch.bfloat16 in operator.dtypes else operator.dtypes[0]
        for backend in target.backends:
            if why_not(operator, backend, target.device, dtype) is None:
                arguments = on_device(operator.cases.CASES[0].build(dtype), target.device)
                operator.function(**arguments, backend=backend)
    small = random_trie()
    for beams, num_beams in ((8, 8), (40, 300)):
        arguments = random_step(torch.bfloat16, small, beam_in=beams, num_beams=num_beams)
        arguments["filter"] = small.filter(deny=[1, 2, 3])
        arguments = on_device(arguments, target.device)
        constrained_beam_step(**arguments, backend=target.backends[0])
        for shares, cluster in ((2, True), (4, False)):
            planned(target, arguments, shares, cluster)[0]()
    for num_beams in (8, 5000):
        step_with_options(target, small, num_beams)
    target.wait()


def step_with_options(target: Target, small: SidTrie, num_beams: int) -> None:
    """By the one backend that takes all of them, and as many beams; a filter for each request."""
    arguments = random_step(torch.bfloat16, small, num_beams=num_beams)
    arguments["filter"] = [None, small.filter(deny=[1, 2, 3]), small.filter(allow=range(50))]
    arguments = on_device(arguments, target.device)
    batch, beams = arguments["node"].shape
    device = torch.device(target.device)
    path = torch.arange(batch * beams, dtype=torch.int32, device=device).view(batch, beams, 1)
    noise = GumbelNoise(7, path, torch.zeros(batch, beams, device=device))
    widths = torch.tensor([num_beams, 1, 8], dtype=torch.int32, device=device)
    options = BeamStepOptions(
        node_prior=torch.ones(small.num_nodes(arguments["level"] + 1), device=device),
        max_children_per_parent=2,
        sibling_penalty=0.5,
        gumbel=noise,
        beam_widths=widths,
    )
    for own in (options, BeamStepOptions(beam_widths=widths)):
        constrained_beam_step(**arguments, options=own, backend=target.backends[-1])
