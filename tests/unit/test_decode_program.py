"""A search as one program over fixed memory, and its graphs, looked at without a GPU.

The program is the function that a CUDA graph records. Here it runs eagerly on the CPU, with the
operator in place of the CUDA kernel: its answers are the engine's, and it asks torch for the same
work whatever it searches. On a device that holds no values it needs none, nor any other device.
"""

from __future__ import annotations

import gc
import threading
import time
import warnings
import weakref
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import onesearch_fast as osf
from onesearch_fast.engine import decode_graphs
from onesearch_fast.engine.decode_graphs import DecodeGraphs, GraphMaker, RecordingError
from onesearch_fast.engine.decode_program import Bucket, DecodedBeams, DecodeProgram
from onesearch_fast.engine.memory import MemoryModel
from onesearch_fast.engine.result import GenerateResult
from onesearch_fast.errors import BackendUnavailable
from onesearch_fast.index.item_filter import Searched
from onesearch_fast.models import read_checkpoint
from onesearch_fast.models.layers import New
from onesearch_fast.ops import _arguments
from onesearch_fast.ops.constrained_beam_step import (
    BeamStepOptions,
    BeamStepResult,
    constrained_beam_step,
)
from onesearch_fast.registry import Implementation, use_backend
from onesearch_fast.testing import random_codes
from onesearch_fast.testing.random_models import random_model

SIZES = (12, 10, 9, 8)
OFFSETS = (50, 62, 72, 81)
VOCAB = 95
PROMPTS = [[5, 9, 1, 30, 2, 2], [7], [49, 0, 3, 11, 12, 13, 14, 15, 16, 17, 18]]
COLUMNS = ("codes", "scores", "rank", "count", "levels_scored")
MANY_BYTES = 1 << 40


class HostSelection:
    """`Selection` by the operator."""

    def __init__(self) -> None:
        self._searched: Sequence[Searched] = ()

    def point_at(self, requests: Sequence[Searched]) -> None:
        self._searched = requests

    def step(
        self,
        logits: torch.Tensor,
        node: torch.Tensor,
        beam_scores: torch.Tensor,
        num_beams: int,
        level: int,
        normalizer: str,
        log_normalizer: torch.Tensor | None,
        options: BeamStepOptions | None,
        out: BeamStepResult,
    ) -> None:
        tries, filters = map(list, zip(*self._searched, strict=True))
        constrained_beam_step(
            logits,
            node,
            beam_scores,
            tries,
            num_beams,
            level,
            normalizer=normalizer,
            log_normalizer=log_normalizer,
            filter=filters,
            options=options,
            out=out,
        )


class Rerun:
    """`Captured` without a GPU: a replay runs the program again, into the same memory."""

    def __init__(self, program: DecodeProgram) -> None:
        self._program = program
        self.beams: DecodedBeams
        self.replays = 0
        self.inside = False
        self.closed = False

    def replay(self) -> None:
        assert self.inside
        self.replays += 1
        self.beams = self._program.run()

    def enter(self) -> None:
        assert not self.inside and not self.closed
        self.inside = True

    def leave(self) -> None:
        self.inside = False

    def close(self) -> None:
        self.closed = True


def make_engine(
    model_type: str,
    trie: osf.SidTrie | osf.LiveStore,
    graph_bytes: int = 0,
    capture: Any = Rerun,
    **options: Any,
) -> osf.Engine:
    engine = osf.Engine.from_pretrained(
        random_model(model_type, VOCAB),
        trie,
        **({"dtype": "float32", "code_token_offsets": OFFSETS} | options),
    )
    if graph_bytes:
        space = engine._space
        memory = MemoryModel(1, 1, 1, 1, 1, len(SIZES) - 1)
        maker = GraphMaker(space.model, space.ranges, lambda _: HostSelection(), capture, memory)
        graphs = DecodeGraphs(maker, space.reader, graph_bytes)
        object.__setattr__(space, "graphs", graphs)
    return engine


def graphs_of(engine: osf.Engine) -> DecodeGraphs:
    graphs = engine._space.graphs
    assert isinstance(graphs, DecodeGraphs)
    return graphs


def assert_same(got: GenerateResult, want: GenerateResult, atol: float = 1e-4) -> None:
    for name in COLUMNS:
        if name != "scores":
            assert torch.equal(getattr(got, name), getattr(want, name)), name
    torch.testing.assert_close(got.scores, want.scores, atol=atol, rtol=0)
    torch.testing.assert_close(got._best_dropped, want._best_dropped, atol=atol, rtol=0)


@pytest.fixture(scope="module")
def trie() -> osf.SidTrie:
    return osf.SidTrie.build(random_codes(400, SIZES, seed=6, skew=0.9), SIZES)


@pytest.mark.parametrize("normalizer", ["level", "children", "none", "vocab"])
@pytest.mark.parametrize("model_type", ["qwen3", "gpt2", "bart"])
def test_a_program_finds_what_the_engine_finds(
    model_type: str, normalizer: str, trie: osf.SidTrie
) -> None:
    plain, graphed = (make_engine(model_type, trie, size) for size in (0, MANY_BYTES))
    for prompts, num_beams in ((PROMPTS, [40, 3, 17]), (PROMPTS[1:2], 500), (PROMPTS[:2], 7)):
        want = plain.generate(prompts, num_beams=num_beams, normalizer=normalizer)
        got = graphed.generate(prompts, num_beams=num_beams, normalizer=normalizer)
        assert_same(got, want)
        assert (got.stats.graphed, want.stats.graphed) == (1, 0)
        dropped = (got._best_dropped, want._best_dropped)
        if normalizer != "none":
            torch.testing.assert_close(*dropped, atol=1e-4, rtol=0)


def test_beam_schedules(trie: osf.SidTrie) -> None:
    plain, graphed = (make_engine("qwen3", trie, size) for size in (0, MANY_BYTES))
    for schedule in ((2, 5, 11, 7), (12, 100, 400, 512), (1, 1, 1, 1)):
        got, want = (
            engine.generate(PROMPTS, beam_schedule=schedule) for engine in (graphed, plain)
        )
        assert_same(got, want)


def test_one_graph_serves_nearly_equal_widths(trie: osf.SidTrie) -> None:
    plain, graphed = (make_engine("qwen3", trie, size) for size in (0, MANY_BYTES))
    for num_beams in (33, 47, [64, 1, 40], 64):
        got, want = (one.generate(PROMPTS, num_beams=num_beams) for one in (graphed, plain))
        assert_same(got, want)
        torch.testing.assert_close(got._best_dropped, want._best_dropped, atol=1e-4, rtol=0)
    for schedule in ((9, 20, 40, 50), (12, 17, 33, 64)):
        got, want = (one.generate(PROMPTS, beam_schedule=schedule) for one in (graphed, plain))
        assert_same(got, want)
    assert [bucket.widths for bucket in graphs_of(graphed).buckets] == [
        (16, 64, 64, 64),
        (16, 32, 64, 64),
    ]


def test_one_graph_serves_updates_filters_and_tenants(tmp_path: Path, trie: osf.SidTrie) -> None:
    with osf.LiveStore.create(tmp_path / "store", random_codes(400, SIZES), SIZES) as store:
        plain, graphed = (make_engine("qwen3", store, size) for size in (0, MANY_BYTES))
        for first in (0, 100, 200):
            store.delete(np.arange(first, first + 50))
            store.insert(np.arange(1000 + first, 1020 + first), random_codes(20, SIZES, seed=first))
            assert_same(*(one.generate(PROMPTS, num_beams=30) for one in (graphed, plain)))
        tenants = [store, trie, trie]
        filters = [None, trie.filter(allow=np.arange(30)), trie.filter(deny=np.arange(300))]
        asked = {"num_beams": 30, "trie": tenants, "filter": filters}
        assert_same(*(one.generate(PROMPTS, **asked) for one in (graphed, plain)))
        assert len(graphs_of(graphed).buckets) == 1


def test_requests_that_are_not_there_are_dead_and_leave_nothing(trie: osf.SidTrie) -> None:
    plain, graphed = (make_engine("qwen3", trie, size) for size in (0, MANY_BYTES))
    for prompts in (PROMPTS + PROMPTS[:1], PROMPTS, PROMPTS[::-1]):
        got, want = (engine.generate(prompts, num_beams=9) for engine in (graphed, plain))
        assert_same(got, want)
    assert [bucket.batch for bucket in graphs_of(graphed).buckets] == [4]


def test_answers_keep_their_memory(trie: osf.SidTrie) -> None:
    engine = make_engine("qwen3", trie, MANY_BYTES)
    first = engine.generate(PROMPTS, num_beams=9)
    kept = {name: getattr(first, name).clone() for name in COLUMNS}
    engine.generate(PROMPTS[::-1], num_beams=9)
    for name, column in kept.items():
        assert torch.equal(getattr(first, name), column), name


def test_a_prefix_cache_feeds_graphs(trie: osf.SidTrie) -> None:
    plain = make_engine("qwen3", trie)
    graphed = make_engine("qwen3", trie, MANY_BYTES, prefix_cache_bytes=1 << 20)
    prompts = [list(range(45)), [*range(40), 1, 2]]
    want = plain.generate(prompts, num_beams=9)
    for cached in (0, 32):
        got = graphed.generate(prompts, num_beams=9)
        assert_same(got, want)
        assert got.stats.cached_tokens == (cached, cached)


def test_what_no_graph_can_do_is_done_step_by_step(trie: osf.SidTrie) -> None:
    engine = make_engine("qwen3", trie, MANY_BYTES)
    options = osf.SearchOptions(max_children_per_parent=2)
    assert engine.generate(PROMPTS, num_beams=9, options=options).stats.graphed == 0
    assert engine.generate(PROMPTS, num_beams=9, deadline_ms=1e6).stats.graphed == 0
    assert engine.generate(PROMPTS, num_beams=5000).stats.graphed == 0
    with use_backend("torch"):
        assert engine.generate(PROMPTS[1:2], num_beams=2).stats.graphed == 0
    assert graphs_of(engine).buckets == ()


def test_a_capture_that_fails_is_told_once_and_searched_step_by_step(trie: osf.SidTrie) -> None:
    def capture(program: DecodeProgram) -> Rerun:
        raise RecordingError("no stream of that kind")

    engine = make_engine("qwen3", trie, MANY_BYTES, capture)
    want = make_engine("qwen3", trie).generate(PROMPTS, num_beams=9)
    with pytest.warns(RuntimeWarning, match="step by step.*no stream of that kind"):
        assert_same(engine.generate(PROMPTS, num_beams=9), want)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert engine.generate(PROMPTS, num_beams=9).stats.graphed == 0


class Attempt:
    """Memory that an attempt at a capture has taken."""


def test_out_of_memory_gives_up_other_graphs_and_the_attempt_first(trie: osf.SidTrie) -> None:
    full: list[bool] = []
    attempts: list[weakref.ref[Attempt]] = []

    def capture(program: DecodeProgram) -> Rerun:
        assert not any(attempt() for attempt in attempts)
        taken = Attempt()
        attempts.append(weakref.ref(taken))
        if full and full.pop():
            raise torch.OutOfMemoryError("no memory")
        return Rerun(program)

    engine = make_engine("qwen3", trie, MANY_BYTES, capture)
    engine.generate(PROMPTS, num_beams=9)
    full.append(True)
    assert engine.generate(PROMPTS, num_beams=9, normalizer="none").stats.graphed == 1
    assert [bucket.normalizer for bucket in graphs_of(engine).buckets] == ["none"]


def test_a_graph_that_found_no_memory_is_tried_again_later(
    trie: osf.SidTrie, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = [True, True]

    def capture(program: DecodeProgram) -> Rerun:
        if full and full.pop():
            raise torch.OutOfMemoryError("no memory")
        return Rerun(program)

    engine = make_engine("qwen3", trie, MANY_BYTES, capture)
    with pytest.warns(RuntimeWarning, match=r"step by step.*no memory"):
        assert engine.generate(PROMPTS, num_beams=9).stats.graphed == 0
    assert engine.generate(PROMPTS, num_beams=9).stats.graphed == 0
    later = time.monotonic() + decode_graphs._RETRY_SECONDS
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert engine.generate(PROMPTS, num_beams=9).stats.graphed == 1


def test_graphs_stay_within_their_memory(trie: osf.SidTrie) -> None:
    made: list[Rerun] = []

    def capture(program: DecodeProgram) -> Rerun:
        made.append(Rerun(program))
        return made[-1]

    one = make_engine("qwen3", trie, MANY_BYTES)
    one.generate(PROMPTS, num_beams=9)
    size = graphs_of(one).nbytes
    engine = make_engine("qwen3", trie, 2 * size + 4096, capture)
    graphs = graphs_of(engine)
    for normalizer in ("level", "children", "level", "none"):
        engine.generate(PROMPTS, num_beams=9, normalizer=normalizer)
        assert graphs.nbytes <= 2 * size + 4096
    assert [bucket.normalizer for bucket in graphs.buckets] == ["level", "none"]
    assert [graph.closed for graph in made] == [False, True, False]
    small = make_engine("qwen3", trie, size // 2)
    with pytest.warns(RuntimeWarning, match=f"may take {size} bytes, and graphs have {size // 2}"):
        assert small.generate(PROMPTS, num_beams=9).stats.graphed == 0


def test_a_graph_keeps_no_catalogue_alive_when_another_is_searched(trie: osf.SidTrie) -> None:
    engine = make_engine("qwen3", trie, MANY_BYTES)
    other = osf.SidTrie.build(random_codes(50, SIZES, seed=3), SIZES)
    gone = weakref.ref(other._handle)
    engine.generate(PROMPTS, num_beams=9, trie=other)
    engine.generate(PROMPTS, num_beams=9)
    del other
    gc.collect()
    assert gone() is None


def test_many_threads_share_graphs(trie: osf.SidTrie) -> None:
    plain, graphed = (make_engine("qwen3", trie, size) for size in (0, MANY_BYTES))
    batches = [(PROMPTS[:n], beams) for n in (1, 2, 3) for beams in (5, 9)] * 3
    want = [plain.generate(prompts, num_beams=beams) for prompts, beams in batches]
    with ThreadPoolExecutor(4) as threads:
        got = list(threads.map(lambda one: graphed.generate(one[0], num_beams=one[1]), batches))
    for pair in zip(got, want, strict=True):
        assert_same(*pair)


def test_threads_give_up_no_graph_that_another_is_about_to_use(trie: osf.SidTrie) -> None:
    plain, one = (make_engine("qwen3", trie, size) for size in (0, MANY_BYTES))
    want = {beams: plain.generate(PROMPTS, num_beams=beams) for beams in (5, 9)}
    one.generate(PROMPTS, num_beams=9)
    graphed = make_engine("qwen3", trie, graphs_of(one).nbytes)  # room for one graph
    asked = [5, 9] * 12  # of two buckets
    with ThreadPoolExecutor(4) as threads:
        got = list(threads.map(lambda beams: graphed.generate(PROMPTS, num_beams=beams), asked))
    for beams, answer in zip(asked, got, strict=True):
        assert_same(answer, want[beams])
        assert answer.stats.graphed == 1


def test_engines_of_a_device_record_one_after_the_other(trie: osf.SidTrie) -> None:
    recording = threading.Lock()

    def capture(program: DecodeProgram) -> Rerun:
        assert recording.acquire(blocking=False)
        made = Rerun(program)
        threading.Event().wait(0.01)
        recording.release()
        return made

    engines = [make_engine("qwen3", trie, MANY_BYTES, capture) for _ in range(4)]
    with ThreadPoolExecutor(4) as threads:
        answers = threads.map(lambda engine: engine.generate(PROMPTS, num_beams=9), engines)
        assert [answer.stats.graphed for answer in answers] == [1] * 4


def test_faults_are_told_as_what_they_are_and_hold_up_no_other_search(trie: osf.SidTrie) -> None:
    faults = ["of the capture", "of the replay"]

    class Faulty(Rerun):
        def __init__(self, program: DecodeProgram) -> None:
            super().__init__(program)
            if len(faults) == 2:
                raise RuntimeError(faults.pop(0))

        def replay(self) -> None:
            if faults:
                raise RuntimeError(faults.pop())
            super().replay()

    engine = make_engine("qwen3", trie, MANY_BYTES, Faulty)
    for fault in list(faults):
        with pytest.raises(RuntimeError, match=fault):
            engine.generate(PROMPTS, num_beams=9)
    assert engine.generate(PROMPTS, num_beams=9).stats.graphed == 1


class Recorder(TorchDispatchMode):
    """What torch is asked for, with shapes; values that decide nothing are not seen."""

    WAITING = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "item", "is_nonzero")

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, tuple[tuple[int, ...], ...]]] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = func.overloadpacket.__name__
        assert not name.startswith(self.WAITING), f"{name} waits for the device"
        shapes = tuple(tuple(x.shape) for x in args if isinstance(x, torch.Tensor))
        self.calls.append((name, shapes))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("normalizer", ["level", "vocab"])
@pytest.mark.parametrize("model_type", ["qwen3", "gpt2", "bart"])
def test_a_run_asks_for_the_same_work_whatever_it_searches(
    model_type: str, normalizer: str, trie: osf.SidTrie
) -> None:
    recorders: list[Recorder] = []

    class Recorded(Rerun):
        def replay(self) -> None:
            recorders.append(Recorder())
            with recorders[-1]:
                super().replay()

    engine = make_engine(model_type, trie, MANY_BYTES, Recorded)
    asked = {"normalizer": normalizer, "num_beams": [9, 9, 9]}
    engine.generate(PROMPTS, **asked)
    engine.generate([[1] * 60, [2], [3] * 5], **(asked | {"num_beams": [1, 9, 4]}))
    few = trie.filter(allow=[3])
    engine.generate(PROMPTS, **asked, filter=few)
    first, *others = [recorder.calls for recorder in recorders]
    assert first
    assert len(others) == 2
    for other in others:
        assert other == first


class EmptySelection:
    """`Selection` on a device without values."""

    def point_at(self, requests: Sequence[Searched]) -> None:
        pass

    def step(self, logits: torch.Tensor, *arguments: Any) -> None:
        node, beam_scores, _, _, _, log_normalizer, _, out = arguments
        given = [logits, node, beam_scores, out.scores]
        given += [] if log_normalizer is None else [log_normalizer]
        assert {tensor.device.type for tensor in given} == {"meta"}


@pytest.mark.parametrize("normalizer", ["level", "vocab"])
@pytest.mark.parametrize("model_type", ["qwen3", "gpt2", "bart"])
def test_a_run_stays_on_the_device(
    model_type: str, normalizer: str, trie: osf.SidTrie, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = Implementation("none", ("meta",), (), lambda: None, lambda *arguments: None)
    monkeypatch.setattr(_arguments, "_chosen", {})
    monkeypatch.setattr(_arguments, "select", lambda *_: nothing)
    monkeypatch.setattr(BeamStepResult, "__post_init__", lambda self: None)
    monkeypatch.setattr(BeamStepOptions, "__post_init__", lambda self: None)
    host = make_engine(model_type, trie)._space
    config = read_checkpoint(random_model(model_type, VOCAB)).config
    model = type(host.model)(config, New(torch.bfloat16, torch.device("meta")))
    bucket = Bucket(4, 64, (9, 9, 5, 9), normalizer)
    program = DecodeProgram(model, host.ranges, bucket, EmptySelection())
    with Devices() as devices:
        beams = program.run()
    assert devices.seen == {"meta"}
    assert beams.codes.shape == (4, 9, len(SIZES))
    assert beams.codes.dtype == torch.int32
    assert beams.rank.dtype == torch.int64


class Devices(TorchDispatchMode):
    """The devices of all that is made."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        self.seen |= {x.device.type for x in (made, *args) if isinstance(x, torch.Tensor)}
        return made


def test_graphs_are_asked_for_on_a_gpu_alone(trie: osf.SidTrie) -> None:
    with pytest.raises(BackendUnavailable, match=r"cuda_graph_bytes: .*the model is on the CPU"):
        make_engine("qwen3", trie, cuda_graph_bytes=1 << 30)
    with pytest.raises(ValueError, match="cuda_graph_bytes: expected an integer of at least 0"):
        make_engine("qwen3", trie, cuda_graph_bytes=-1)
    assert make_engine("qwen3", trie, cuda_graph_bytes=0)._space.graphs is None
    assert make_engine("qwen3", trie)._space.graphs is None
