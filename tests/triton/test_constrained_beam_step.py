"""What the common cases of `constrained_beam_step` leave out, in Triton's interpreter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from onesearch_fast.index.live_store import LiveStore
from onesearch_fast.index.sid_trie import SidTrie
from onesearch_fast.ops.constrained_beam_step import (
    BeamStepOptions,
    BeamStepResult,
    GumbelNoise,
    constrained_beam_step,
)
from onesearch_fast.testing.cases.constrained_beam_step import LEVEL_SIZES, random_step, random_trie
from onesearch_fast.testing.tries import random_codes

triton = pytest.importorskip("triton", reason="triton is missing: `make triton` installs it")
pytestmark = pytest.mark.skipif(
    not triton.knobs.runtime.interpret, reason="needs TRITON_INTERPRET=1: `make triton`"
)


def assert_equal_steps(arguments: dict[str, Any]) -> BeamStepResult:
    """Scores without a log-sum-exp are exact, so both backends give the same bits."""
    got = constrained_beam_step(**arguments, backend="triton")
    want = constrained_beam_step(**arguments, backend="cpu")
    for name in ("scores", "parent_beam", "tokens", "node", "count", "best_dropped"):
        assert torch.equal(getattr(got, name), getattr(want, name)), name
    return got


def test_widths_per_request() -> None:
    arguments = random_step(torch.float32, random_trie(), normalizer="vocab")
    widths = torch.tensor([1, 5, 8], dtype=torch.int32)
    step = assert_equal_steps(arguments | {"options": BeamStepOptions(beam_widths=widths)})
    assert step.count.tolist() == [1, 5, 8]


def test_a_trie_and_a_filter_per_request() -> None:
    tries = [random_trie(), SidTrie.build(random_codes(90, LEVEL_SIZES), LEVEL_SIZES)]
    arguments = random_step(torch.float32, tries[0], normalizer="none", batch=4)
    arguments["node"] %= 20
    searched = [tries[i] for i in (0, 0, 1, 1)]
    filters = [None, None, tries[1].filter(allow=np.arange(30)), None]
    assert_equal_steps(arguments | {"trie": searched, "filter": filters})


@pytest.mark.parametrize("level", [0, 1, 2])
def test_a_live_store(tmp_path: Path, level: int) -> None:
    with LiveStore.create(tmp_path / "store", random_codes(600, LEVEL_SIZES), LEVEL_SIZES) as store:
        store.delete(np.arange(0, 500))
        store.insert(np.arange(1000, 1100), random_codes(100, LEVEL_SIZES, seed=5))
        snapshot = store.snapshot()
        arguments = random_step(torch.float32, snapshot, level, num_beams=60, normalizer="none")
        assert_equal_steps(arguments)
        assert_equal_steps(arguments | {"filter": snapshot.filter(deny=np.arange(1000, 1050))})


def noise(arguments: dict[str, Any]) -> GumbelNoise:
    generator = torch.Generator().manual_seed(3)
    batch, beams = arguments["node"].shape
    path = torch.randint(0, 24, (batch, beams, arguments["level"]), generator=generator)
    perturbed = -4 * torch.rand(batch, beams, generator=generator)
    perturbed[0, 1], perturbed[1, 2] = -torch.inf, torch.nan
    return GumbelNoise(torch.arange(-1, batch - 1) << 60, path.int(), perturbed)


def prior() -> torch.Tensor:
    nodes = random_trie().num_nodes(2)
    values = torch.arange(nodes, dtype=torch.float32) % 7 / 2
    values[::5], values[1::11] = -torch.inf, torch.nan
    return values


ALONE: dict[str, dict[str, Any]] = {
    "node_prior": {"node_prior": prior()},
    "max_children_per_parent": {"max_children_per_parent": 2},
    "sibling_penalty": {"sibling_penalty": 0.5},
    "gumbel": {"gumbel": True},
    "beam_widths": {"beam_widths": torch.tensor([1, 5, 8], dtype=torch.int32)},
}
ALONE["all"] = {name: value for one in ALONE.values() for name, value in one.items()}


@pytest.mark.parametrize("num_beams", [8, 1000])
@pytest.mark.parametrize("name", ALONE)
def test_options_mean_what_they_mean_on_the_cpu(name: str, num_beams: int) -> None:
    arguments = random_step(torch.float32, random_trie(), num_beams=num_beams, normalizer="vocab")
    arguments["logits"] = (2 * arguments["logits"]).round() / 2  # ties among siblings
    arguments["filter"] = random_trie().filter(allow=np.arange(600) % 4 != 0)
    chosen = ALONE[name]
    if "gumbel" in chosen:
        chosen = chosen | {"gumbel": noise(arguments)}
    got = assert_equal_steps(arguments | {"options": BeamStepOptions(**chosen)})
    want = constrained_beam_step(**arguments, options=BeamStepOptions(**chosen), backend="cpu")
    assert (got.perturbed is None) == (want.perturbed is None)
    if want.perturbed is not None:
        torch.testing.assert_close(got.perturbed, want.perturbed, atol=1e-5, rtol=1e-5)


def test_repeats_give_the_same_bits() -> None:
    arguments = random_step(torch.bfloat16, random_trie())
    first, second = (constrained_beam_step(**arguments, backend="triton") for _ in range(2))
    assert torch.equal(first.scores, second.scores)
    assert torch.equal(first.node, second.node)
