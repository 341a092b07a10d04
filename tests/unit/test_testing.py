"""The judges judged: comparisons that must fail, and the order of paired timing."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from onesearch_fast.ops import BeamStepResult, constrained_beam_step
from onesearch_fast.registry import Tolerance
from onesearch_fast.testing import assert_close, random_codes, time_alternating, timing
from onesearch_fast.testing.cases.constrained_beam_step import check, random_step, random_trie

NAN, INF = float("nan"), float("inf")
TOLERANCE = Tolerance(relative=1e-3, absolute=1e-3)


@pytest.mark.parametrize(
    ("got", "want"), [(1.0, 1.0015), (NAN, NAN), (INF, INF), (-INF, -INF), (0.0, -0.0)]
)
def test_close_values(got: float, want: float) -> None:
    assert_close(torch.tensor([5.0, got]), torch.tensor([5.0, want]), TOLERANCE)


@pytest.mark.parametrize(
    ("got", "want"),
    [(1.0, 1.003), (NAN, 1.0), (1.0, NAN), (INF, 1.0), (1.0, INF), (INF, -INF), (NAN, INF)],
)
def test_values_that_are_not_close(got: float, want: float) -> None:
    with pytest.raises(AssertionError, match=r"logits: 1 of 2 values differ; worst at \[1\]"):
        assert_close(torch.tensor([5.0, got]), torch.tensor([5.0, want]), TOLERANCE, "logits")


def test_shapes_must_be_equal() -> None:
    with pytest.raises(AssertionError, match=r"shape \(2, 1\), want \(2,\)"):
        assert_close(torch.zeros(2, 1), torch.zeros(2), TOLERANCE)


def swap_first_two(result: BeamStepResult) -> None:
    for column in (result.scores, result.parent_beam, result.tokens, result.node):
        column[0, :2] = column[0, :2].flip(0)


def repeat_first(result: BeamStepResult) -> None:
    for column in (result.scores, result.parent_beam, result.tokens, result.node):
        column[0, 1] = column[0, 0]


def change(column: str, place: int, by: float) -> Callable[[BeamStepResult], None]:
    def alter(result: BeamStepResult) -> None:
        getattr(result, column)[0, place] += by

    return alter


def lower_the_count(result: BeamStepResult) -> None:
    result.count[0] -= 1


@pytest.mark.parametrize("normalizer", ["level", "none"])
@pytest.mark.parametrize(
    "corrupt",
    [
        swap_first_two,
        repeat_first,
        lower_the_count,
        change("scores", 0, 1.0),
        change("parent_beam", 0, 1),
        change("tokens", 0, 1),
        change("node", 0, 1),
        change("tokens", -1, 1),  # past count
        change("node", -1, 1),
        change("scores", -1, INF),
    ],
)
def test_a_wrong_step_is_found(corrupt: Callable[[BeamStepResult], None], normalizer: str) -> None:
    arguments = random_step(
        torch.float32, random_trie(100), batch=1, num_beams=100, normalizer=normalizer
    )
    result = constrained_beam_step(**arguments)
    assert 2 < int(result.count[0]) < 100
    check(arguments, result, TOLERANCE)
    corrupt(result)
    with pytest.raises(AssertionError):
        check(arguments, result, TOLERANCE)


def test_equal_scores_must_stand_in_order() -> None:
    arguments = random_step(torch.float32, random_trie(), batch=1)
    arguments["logits"].fill_(0.0)
    arguments["beam_scores"].fill_(0.0)
    result = constrained_beam_step(**arguments)
    swap_first_two(result)
    with pytest.raises(AssertionError, match="not ordered by score, parent and token"):
        check(arguments, result, TOLERANCE)


def test_rivals_run_in_turn_after_their_outputs_were_compared() -> None:
    calls: list[str] = []

    def rival(name: str) -> Callable[[], int]:
        def run() -> int:
            calls.append(name)
            return 7

        return run

    def assert_equal(a: int, b: int) -> None:
        calls.append("compared")
        assert a == b

    times = time_alternating({"a": rival("a"), "b": rival("b")}, assert_equal, repeats=3)
    assert calls == ["a", "b", "compared", "a", "b", "a", "b", "a", "b"]
    assert all(0 <= timing.min_us <= timing.median_us for timing in times.values())
    with pytest.raises(AssertionError):
        time_alternating({"a": lambda: 1, "b": lambda: 2}, assert_equal)


def test_a_turn_lasts_as_long_as_it_should(monkeypatch: pytest.MonkeyPatch) -> None:
    microseconds = {"short": 0.3e6, "long": 2e6}
    monkeypatch.setattr(timing, "_microseconds", lambda run: microseconds[run()])
    turns = {name: len(timing._turn(lambda name=name: name, 0.5)) for name in microseconds}
    assert turns == {"short": 2, "long": 1}
    assert timing._turn(lambda: "short", 0.0) == [0.3e6]


def test_a_long_run_is_timed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[str] = []
    microseconds = {"short": 1.0, "long": 9e6}

    def timed(run: Callable[[], str]) -> float:
        return microseconds[run()]

    def rival(name: str) -> Callable[[], str]:
        def run() -> str:
            runs.append(name)
            return name

        return run

    monkeypatch.setattr(timing, "_microseconds", timed)
    rivals = {name: rival(name) for name in microseconds}
    time_alternating(rivals, lambda first, second: None, repeats=3)
    assert runs == ["short", "long", "short", "long", "short", "short"]


def test_random_codes_are_skewed_and_in_range() -> None:
    codes = random_codes(10_000, (4, 300), seed=1, skew=1.0)
    assert codes.shape == (10_000, 2)
    assert codes.min() >= 0
    assert (codes.max(axis=0) < (4, 300)).all()
    counts = np.sort(np.bincount(codes[:, 0]))[::-1] / len(codes)
    assert np.allclose(counts, [0.48, 0.24, 0.16, 0.12], atol=0.02)
    assert (codes == random_codes(10_000, (4, 300), seed=1, skew=1.0)).all()
