"""What the common cases of `constrained_beam_step` leave out, in Triton's interpreter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from onesearch_fast.errors import BackendUnavailable
from onesearch_fast.index.live_store import LiveStore
from onesearch_fast.index.sid_trie import SidTrie
from onesearch_fast.ops.constrained_beam_step import (
    BeamStepOptions,
    BeamStepResult,
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


@pytest.mark.parametrize(
    "options",
    [
        {"node_prior": torch.zeros(random_trie().num_nodes(2))},
        {"max_children_per_parent": 2},
        {"sibling_penalty": 0.5},
    ],
    ids=lambda options: next(iter(options)),
)
def test_options_that_reorder_are_refused(options: dict[str, Any]) -> None:
    arguments = random_step(torch.float32, random_trie())
    with pytest.raises(BackendUnavailable, match=f"options.{next(iter(options))}: expected none"):
        constrained_beam_step(**arguments, options=BeamStepOptions(**options), backend="triton")


def test_repeats_give_the_same_bits() -> None:
    arguments = random_step(torch.bfloat16, random_trie())
    first, second = (constrained_beam_step(**arguments, backend="triton") for _ in range(2))
    assert torch.equal(first.scores, second.scores)
    assert torch.equal(first.node, second.node)
