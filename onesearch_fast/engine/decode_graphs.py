"""Whole searches as CUDA graphs: one launch for all levels, selection included."""

from __future__ import annotations

import math
import threading
import time
import warnings
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

import numpy as np
import torch

from onesearch_fast.engine.beam_search import Beams, CodeRanges, SearchSettings
from onesearch_fast.engine.decode_program import Bucket, DecodedBeams, DecodeProgram, Selection
from onesearch_fast.engine.decoding import CHUNK_LOGITS
from onesearch_fast.engine.devices import recording_on
from onesearch_fast.engine.memory import Load, MemoryModel
from onesearch_fast.engine.prompt_reader import PromptReader
from onesearch_fast.engine.search_batch import SearchBatch
from onesearch_fast.engine.search_options import NO_OPTIONS
from onesearch_fast.engine.statistics import Stopwatch
from onesearch_fast.index.sid_trie import SidTrie
from onesearch_fast.models import DecoderModel
from onesearch_fast.ops.constrained_beam_step import MAX_CUDA_BEAMS, OPERATOR
from onesearch_fast.registry import load, named_backend

_LEAST_PROMPT_TOKENS = 64
# Until a graph that found no memory is tried again: an attempt drops the others and takes seconds.
_RETRY_SECONDS = 60.0


class RecordingError(RuntimeError):
    """Why a bucket is not searched as a graph."""


class Captured(Protocol):
    """The run of a program, recorded."""

    beams: DecodedBeams

    def replay(self) -> None:
        """Runs it again; waits for no device."""

    def enter(self) -> None:
        """Comes before what is loaded for a replay: no two replays may overlap."""

    def leave(self) -> None:
        """Comes after what is read of a replay."""

    def close(self) -> None:
        """Returns when nothing uses its memory any more."""


class CudaPool:
    """What the graphs of an engine share: memory, the stream of captures, the end of all runs."""

    def __init__(self, device: torch.device) -> None:
        with torch.cuda.device(device):
            self.handle = torch.cuda.graph_pool_handle()
            # torch hands out 32 streams of a priority in turn. What cuBLAS works in belongs to a
            # stream and is recorded with the products: a caller's own stream must not be this one.
            self.stream = torch.cuda.Stream(device, priority=-1)  # type: ignore[no-untyped-call]
            self.done = torch.cuda.Event()  # type: ignore[no-untyped-call]


class CudaGraph:
    """`Captured` by a `torch.cuda.CUDAGraph`, replayed on the stream of its caller.

    Graphs of one pool share memory between their runs. Streams of different callers wait for each
    other by an event, never the host.
    """

    def __init__(self, program: DecodeProgram, pool: CudaPool) -> None:
        self._pool = pool
        self._graph = torch.cuda.CUDAGraph()
        stream = pool.stream
        stream.wait_stream(torch.cuda.current_stream(stream.device))
        stream.wait_event(pool.done)
        with torch.cuda.stream(stream):
            program.run()  # compiles kernels and makes handles, which no capture may
        # A fault of earlier work is told as what it is, not as a capture that failed.
        stream.synchronize()
        try:
            self.beams = self._record(program)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            stream.synchronize()
            raise RecordingError(str(error)) from error

    def _record(self, program: DecodeProgram) -> DecodedBeams:
        # Other threads go on meanwhile, with calls that a capture of their own would refuse.
        mode = "thread_local"
        with torch.cuda.graph(
            self._graph, self._pool.handle, self._pool.stream, capture_error_mode=mode
        ):
            return program.run()

    def replay(self) -> None:
        """`Captured`."""
        self._graph.replay()

    def enter(self) -> None:
        """`Captured`."""
        torch.cuda.current_stream(self._pool.stream.device).wait_event(self._pool.done)

    def leave(self) -> None:
        """`Captured`."""
        self._pool.done.record(torch.cuda.current_stream(self._pool.stream.device))

    def close(self) -> None:
        """`Captured`."""
        self._pool.done.synchronize()
        self._graph.reset()


Capture = Callable[[DecodeProgram], Captured]
MakeSelection = Callable[[int], Selection]


@dataclass(frozen=True)
class GraphMaker:
    """How graphs are made for one model.

    Attributes:
        selection: for so many requests.
        capture: records a program.
        memory: what a search of given sizes takes at most.
    """

    model: DecoderModel
    ranges: CodeRanges
    selection: MakeSelection
    capture: Capture
    memory: MemoryModel

    @classmethod
    def for_cuda(cls, model: DecoderModel, ranges: CodeRanges, memory: MemoryModel) -> GraphMaker:
        """On the model's device."""
        fixed = load(OPERATOR, "cuda").fixed
        assert fixed is not None, "the CUDA kernel has a fixed form"
        # Not one that is searched, which would be kept alive.
        form = SidTrie.build(np.zeros((1, len(ranges.sizes)), dtype=np.int32), ranges.sizes)
        selection = partial(fixed, form, device=model.device)
        capture = partial(CudaGraph, pool=CudaPool(model.device))
        return cls(model, ranges, selection, capture, memory)

    def nbytes(self, bucket: Bucket) -> int:
        """What a graph of the bucket takes at most."""
        vocab = self.model.shape.vocab_size if bucket.normalizer == "vocab" else 0
        load = Load(bucket.batch, bucket.prompt_tokens, bucket.most_beams, max(bucket.widths))
        return self.memory.search(
            replace(load, vocab_logits=vocab, vocab_logits_at_most=CHUNK_LOGITS)
        )

    def make(self, bucket: Bucket) -> DecodeGraph:
        """Runs the bucket's program once, and records it."""
        selection = self.selection(bucket.batch)
        program = DecodeProgram(self.model, self.ranges, bucket, selection)
        with recording_on(self.model.device):
            return DecodeGraph(program, self.capture(program), self.nbytes(bucket))


@dataclass(frozen=True, eq=False)
class DecodeGraph:
    """A program and its recorded run."""

    program: DecodeProgram
    captured: Captured
    nbytes: int


class DecodeGraphs:
    """Searches by graphs, one per bucket; those used longest ago go when memory is short.

    A bucket is made when it is first searched. Safe to use from many threads: prompts are read side
    by side, and replays follow each other.
    """

    def __init__(self, maker: GraphMaker, reader: PromptReader, max_bytes: int) -> None:
        self._maker = maker
        self._reader = reader
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._graphs: OrderedDict[Bucket, DecodeGraph] = OrderedDict()
        self._refused: dict[Bucket, float] = {}  # until when

    @property
    def nbytes(self) -> int:
        """Of all graphs, at most."""
        with self._lock:
            return self._held()

    @property
    def buckets(self) -> tuple[Bucket, ...]:
        """Of all graphs, those used longest ago first."""
        with self._lock:
            return tuple(self._graphs)

    def search(
        self, batch: SearchBatch, settings: SearchSettings, watch: Stopwatch
    ) -> Beams | None:
        """`constrained_search`; None for what no graph can do, which is then done step by step.

        That is: deadlines, which are looked at between levels; options, which the CUDA step does
        not take; more beams than it keeps; kernels that the caller names. Where a graph should
        do and cannot, a warning says why.
        """
        if not _can_be_graphed(batch, settings):
            return None
        bucket = bucket_of(batch, settings)
        if time.monotonic() < self._refused.get(bucket, 0.0):
            return None
        read = self._reader.read(self._maker.model, batch.prompts)
        watch.prefill += watch.lap()
        with self._lock:
            # Looked up last: another search may give it up as soon as the lock is free.
            graph = self._graph(bucket)
            if graph is None:
                return None
            graph.captured.enter()
            try:
                graph.program.load(read.prefilled, batch, settings.widths)
                graph.captured.replay()
                found = _copied(graph.captured.beams, settings.widths[-1], read.cached_tokens)
            finally:
                graph.captured.leave()
        watch.graphed += 1
        watch.model[0] += watch.lap()
        return found

    def _graph(self, bucket: Bucket) -> DecodeGraph | None:
        if bucket not in self._graphs:
            try:
                self._graphs[bucket] = self._made(bucket)
            except torch.OutOfMemoryError as error:
                # Others may have given memory back by then.
                self._refuse(bucket, error, time.monotonic() + _RETRY_SECONDS)
                return None
            except RecordingError as error:
                self._refuse(bucket, error, math.inf)
                return None
        self._graphs.move_to_end(bucket)
        return self._graphs[bucket]

    def _refuse(self, bucket: Bucket, error: Exception, until: float) -> None:
        self._refused[bucket] = until
        warnings.warn(
            f"Engine: {bucket} is searched step by step, not as one graph: {error}",
            RuntimeWarning,
            stacklevel=3,
        )

    def _made(self, bucket: Bucket) -> DecodeGraph:
        needed = self._maker.nbytes(bucket)
        if needed > self._max_bytes:
            raise RecordingError(f"it may take {needed} bytes, and graphs have {self._max_bytes}")
        while self._held() + needed > self._max_bytes:
            self._drop_oldest()
        # Tried again outside of the handler, which keeps the memory of what failed.
        with suppress(torch.OutOfMemoryError):
            return self._maker.make(bucket)
        while self._graphs:
            self._drop_oldest()
        return self._maker.make(bucket)

    def _held(self) -> int:
        return sum(graph.nbytes for graph in self._graphs.values())

    def _drop_oldest(self) -> None:
        _, graph = self._graphs.popitem(last=False)
        graph.captured.close()


def _can_be_graphed(batch: SearchBatch, settings: SearchSettings) -> bool:
    plain = settings.options == NO_OPTIONS and batch.seeds is None and named_backend() is None
    return plain and not min(batch.deadlines).is_set and max(settings.widths) <= MAX_CUDA_BEAMS


def bucket_of(batch: SearchBatch, settings: SearchSettings) -> Bucket:
    """Sizes rounded up, so that few graphs serve most searches and no update of an index needs one.

    Requests, beams and nodes to powers of two, prompts to quarters of them.
    """
    longest, most = max(batch.prompts.sizes), max(batch.num_beams)
    part = max(_LEAST_PROMPT_TOKENS, _power_of_two(longest) // 4)
    widths = [
        _power_of_two(min(width, most, batch.catalogues.num_nodes(level + 1)))
        for level, width in enumerate(settings.widths[:-1])
    ]
    return Bucket(
        _power_of_two(len(batch)),
        -(-longest // part) * part,
        (*widths, _power_of_two(settings.widths[-1])),
        settings.normalizer,
    )


def _power_of_two(number: int) -> int:
    """The least that is not below `number`."""
    return 1 << max(number - 1, 0).bit_length()


def _copied(beams: DecodedBeams, width: int, cached_tokens: tuple[int, ...]) -> Beams:
    """The beams of the requests that are there, in memory of their own."""
    requests = slice(len(cached_tokens))
    asked = (requests, slice(width))
    layout = torch.contiguous_format
    count = beams.count[requests].clone()
    return Beams(
        codes=beams.codes[asked].clone(memory_format=layout),
        scores=beams.scores[asked].clone(memory_format=layout),
        rank=beams.rank[asked].clone(memory_format=layout),
        count=count,
        levels_scored=torch.full_like(count, beams.codes.shape[2]),
        cached_tokens=torch.tensor(cached_tokens, dtype=torch.int32),
        best_dropped=beams.best_dropped[requests].clone(),
    )
