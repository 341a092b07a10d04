"""A cap on memory: what a search may take is known before it starts."""

from __future__ import annotations

import threading
from bisect import bisect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import prod

import torch

from onesearch_fast.engine.deadline import Deadline
from onesearch_fast.engine.numbers import whole_number
from onesearch_fast.engine.search_batch import Rows
from onesearch_fast.errors import invalid
from onesearch_fast.models import Checkpoint, DecoderModel, weight_bytes

# Logits of the whole vocabulary are made as they are, in float32, and once more in between.
_VOCAB_LOGIT_BYTES = 12
# Torch's own buffers, tiles of attention and candidates per thread, small tensors.
_FIXED_BYTES = 16 << 20
# Scores, ids and ancestry of a beam in two steps' results.
_BEAM_BYTES = 128


@dataclass(frozen=True)
class Ranking:
    """What a step takes to rank the children of a beam, in bytes: at the root, and past it."""

    root: int = 0
    beam: int = 0


NO_RANKING = Ranking()


@dataclass(frozen=True)
class Load:
    """The sizes that decide how much memory a search takes.

    Attributes:
        requests: searched together.
        prompt_tokens: of the longest prompt.
        beams: of the widest level that the model runs over.
        columns: beams of the result.
        vocab_logits: numbers over the whole vocabulary that a beam needs; 0 where none does.
        vocab_logits_at_most: of all beams, how many exist at a time.
        ranking: of each request's beams, where a step keeps a place for every child.
    """

    requests: int
    prompt_tokens: int
    beams: int
    columns: int
    vocab_logits: int = 0
    vocab_logits_at_most: int = 0
    ranking: Ranking = NO_RANKING


@dataclass(frozen=True)
class MemoryModel:
    """Upper bounds of what a model and its searches take, in bytes.

    Attributes:
        weights: packed, in the model's dtype.
        key_value: keys and values of one token.
        activation: what a token passes through a layer in.
        logits: of one beam, over the widest level.
        scratch: of a matrix product, which may reorder its weights.
        num_steps: passes over the beams.
    """

    weights: int
    key_value: int
    activation: int
    logits: int
    scratch: int
    num_steps: int

    @classmethod
    def of(
        cls, checkpoint: Checkpoint, model: DecoderModel, level_sizes: tuple[int, ...]
    ) -> MemoryModel:
        """From the shapes of a checkpoint; tensors of layers have a number in their names."""
        s, size = model.shape, model.dtype.itemsize
        layers = [
            shape
            for name, shape in checkpoint.shapes.items()
            if len(shape) == 2 and any(part.isdigit() for part in name.split("."))
        ]
        # Some products are packed side by side, at most two of the widest.
        widest = 2 * max(max(shape) for shape in layers)
        heads = s.num_heads + 2 * s.num_kv_heads
        return cls(
            weights=model.nbytes,
            key_value=2 * s.num_layers * s.num_kv_heads * s.head_dim * size,
            activation=size * (6 * s.hidden_size + 4 * heads * s.head_dim + 2 * widest)
            + 8 * heads * s.head_dim,
            logits=max(level_sizes) * (size + 4),
            scratch=size * max(2 * max(map(prod, layers)), max(level_sizes) * s.hidden_size),
            num_steps=len(level_sizes) - 1,
        )

    @property
    def smallest_search(self) -> int:
        """Of one beam after one token."""
        return self.search(Load(1, 1, 1, 1))

    def search(self, load: Load) -> int:
        """Bytes that a search of this load takes at most, the weights apart."""
        tokens = load.requests * load.prompt_tokens
        beams = load.requests * load.beams
        # What is read from a prefix cache stands twice while a batch is put together.
        kept = self.key_value * (2 * tokens + self.num_steps * beams)
        reading = tokens * self.activation
        ranking = max(load.requests * load.ranking.root, beams * load.ranking.beam)
        stepping = beams * (self.activation + self.logits) + ranking
        results = load.requests * load.columns * _BEAM_BYTES
        logits = min(beams * load.vocab_logits, load.vocab_logits_at_most)
        scratch = self.scratch + _FIXED_BYTES
        return kept + max(reading, stepping) + results + logits * _VOCAB_LOGIT_BYTES + scratch


@dataclass(frozen=True)
class BatchLoads:
    """The load of any part of a batch.

    Attributes:
        prompt_tokens, beams: per request.
        columns, vocab_logits, vocab_logits_at_most, ranking: as of `Load`.
    """

    prompt_tokens: Sequence[int]
    beams: Sequence[int]
    columns: int
    vocab_logits: int = 0
    vocab_logits_at_most: int = 0
    ranking: Ranking = NO_RANKING

    def of(self, rows: Rows) -> Load:
        """The load of some of the requests, searched together."""
        return Load(
            requests=len(rows),
            prompt_tokens=max(self.prompt_tokens[row] for row in rows),
            beams=max(self.beams[row] for row in rows),
            columns=self.columns,
            vocab_logits=self.vocab_logits,
            vocab_logits_at_most=self.vocab_logits_at_most,
            ranking=self.ranking,
        )


def check_weights_fit(
    checkpoint: Checkpoint, dtype: torch.dtype, quantization: str | None, max_bytes: int
) -> None:
    """Before they are loaded."""
    needed = weight_bytes(checkpoint.config, dtype, quantization)
    if whole_number("Engine", "max_memory_bytes", max_bytes, 1) < needed:
        raise _bad("max_memory_bytes", f"at least the {needed} bytes of the weights", max_bytes)


class MemoryBudget:
    """Memory that searches share: each takes what it may need, or waits until others are done."""

    def __init__(
        self,
        max_bytes: int,
        model: MemoryModel,
        prefix_cache_bytes: int,
        cuda_graph_bytes: int = 0,
    ) -> None:
        least = model.weights + prefix_cache_bytes + model.smallest_search
        if max_bytes < least:
            expected = f"at least {least} (weights {model.weights}, prefix cache "
            expected += f"{prefix_cache_bytes}, the smallest search)"
            raise _bad("max_memory_bytes", expected, max_bytes)
        if cuda_graph_bytes > max_bytes - least:
            expected = f"at most {max_bytes - least}, what max_memory_bytes leaves"
            raise _bad("cuda_graph_bytes", expected, cuda_graph_bytes)
        self._model = model
        taken = model.weights + prefix_cache_bytes + cuda_graph_bytes
        self._room = self._free = max_bytes - taken
        self._changed = threading.Condition()

    def split(self, rows: Rows, loads: BatchLoads) -> Iterator[Rows]:
        """`rows` in parts that fit, as large as may be; refuses a request that fits in no way."""
        part: list[int] = []
        for row in rows:
            self._check_alone(loads.of([row]))
            if part and self._model.search(loads.of([*part, row])) > self._room:
                yield part
                part = []
            part.append(row)
        yield part

    @contextmanager
    def reserve(self, load: Load, deadline: Deadline) -> Iterator[None]:
        """Holds the memory of a search; waits for it no longer than the deadline.

        A search whose deadline is over takes next to nothing, and goes ahead without.
        """
        needed = self._model.search(load)
        with self._changed:
            granted = self._changed.wait_for(lambda: self._free >= needed, deadline.remaining())
            self._free -= needed if granted else 0
        try:
            yield
        finally:
            with self._changed:
                self._free += needed if granted else 0
                self._changed.notify_all()

    def _check_alone(self, load: Load) -> None:
        needed = self._model.search(load)
        if needed <= self._room:
            return
        asked = f"{load.beams} beams after {load.prompt_tokens} tokens, which may take {needed}"
        beams = self._most(lambda beams: replace(load, beams=beams, columns=beams), load.beams)
        if beams:
            expected = f"at most {beams} beams after a prompt of {load.prompt_tokens} tokens"
        else:
            tokens = self._most(
                lambda tokens: replace(load, beams=1, prompt_tokens=tokens), load.prompt_tokens
            )
            expected = f"a prompt of at most {tokens} tokens"
        remedy = (
            f"{self._room} bytes are left for searches: raise max_memory_bytes, or ask for less"
        )
        raise _bad("num_beams" if beams else "input_ids", expected, asked, remedy)

    def _most(self, load_of: Callable[[int], Load], most: int) -> int:
        """The largest number in [0, most) whose load fits."""
        numbers = range(1, most)
        return bisect(numbers, self._room, key=lambda number: self._model.search(load_of(number)))


def _bad(argument: str, expected: str, got: object, remedy: str | None = None) -> ValueError:
    return invalid("Engine", argument, expected, got, remedy)
