"""All steps of a search as one run over memory that never moves, so that a graph can hold it.

What differs between two searches of one bucket is in tensors: keys and values of the prompts, their
lengths, beam widths, where dead requests begin. Shapes and control flow depend on the bucket alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from onesearch_fast.engine.beam_search import CodeRanges
from onesearch_fast.engine.decoding import BeamDecoder, Prefilled, vocab_log_normalizer
from onesearch_fast.engine.kv_cache import ContextKV
from onesearch_fast.engine.search_batch import SearchBatch
from onesearch_fast.engine.transfers import to_device
from onesearch_fast.index.item_filter import Searched
from onesearch_fast.models import DecoderModel
from onesearch_fast.ops.constrained_beam_step import BeamStepOptions, BeamStepResult


@dataclass(frozen=True)
class Bucket:
    """Searches that share a program.

    Attributes:
        batch: the most requests; those that are not there are dead.
        prompt_tokens: of the longest prompt.
        widths: the most beams after each level.
        normalizer: as of `Engine.generate`.
    """

    batch: int
    prompt_tokens: int
    widths: tuple[int, ...]
    normalizer: str

    @property
    def most_beams(self) -> int:
        """Of the levels that the model runs over."""
        return max(self.widths[:-1], default=1)


class Selection(Protocol):
    """How a program chooses beams, in catalogues that may change between two runs.

    The fixed form of `ops.constrained_beam_step`.
    """

    def point_at(self, requests: Sequence[Searched]) -> None:
        """Has the next runs search these, one a request."""

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
        """The step into `out`, without waiting for the device."""


@dataclass(frozen=True)
class DecodedBeams:
    """The beams after the last level, in the program's own memory, which the next run overwrites.

    As of `beam_search.Beams`: codes [batch, beam, level] int32, scores, rank, count, best_dropped.
    """

    codes: torch.Tensor
    scores: torch.Tensor
    rank: torch.Tensor
    count: torch.Tensor
    best_dropped: torch.Tensor


class DecodeProgram:
    """The steps of all searches of a bucket: `load` what differs, then `run`."""

    def __init__(
        self, model: DecoderModel, ranges: CodeRanges, bucket: Bucket, selection: Selection
    ) -> None:
        self._model = model
        self._ranges = ranges
        self._bucket = bucket
        self._selection = selection
        self._read = _empty_prefilled(model, bucket)
        batch, device = bucket.batch, model.device
        self._root_node = torch.zeros(batch, 1, dtype=torch.int32, device=device)
        self._root_scores = torch.zeros(batch, 1, dtype=torch.float32, device=device)
        widths = [[width] * batch for width in bucket.widths]
        self._widths = torch.tensor(widths, dtype=torch.int32, device=device)
        self._options = [BeamStepOptions(beam_widths=own) for own in self._widths]
        self._steps = [BeamStepResult.empty(batch, width, device) for width in bucket.widths]

    @torch.inference_mode()
    def load(self, read: Prefilled, batch: SearchBatch, widths: Sequence[int]) -> None:
        """Brings in what the next run searches, and the most beams it keeps after each level.

        Waits for the device only where a catalogue, a filter or their combination is new to it.
        """
        requests = len(batch)
        self._selection.point_at(_searched(batch, self._bucket.batch))
        _copy(read.context, self._read.context)
        if read.encoded is not None and self._read.encoded is not None:
            _copy(read.encoded, self._read.encoded)
        self._read.hidden[:requests] = read.hidden
        self._root_node[:requests] = 0
        self._root_node[requests:] = -1
        limits = map(min, widths, self._bucket.widths)
        own = [[min(most, limit) for most in batch.num_beams] for limit in limits]
        self._widths[:, :requests] = to_device(
            torch.tensor(own, dtype=torch.int32), self._model.device
        )

    @torch.inference_mode()
    def run(self) -> DecodedBeams:
        """All levels, as `constrained_search` makes them."""
        model, steps = self._model, self._steps
        decoder = BeamDecoder(model, self._read, len(steps) - 1, self._bucket.most_beams)
        hidden, node, scores = self._read.hidden, self._root_node, self._root_scores
        codes, dropped, parents = None, None, None
        for level, out in enumerate(steps):
            if parents is not None:
                before = steps[level - 1]
                node, scores = before.node, before.scores
                tokens = before.tokens.clamp(min=0) + self._ranges.offsets[level - 1]
                hidden = decoder.advance(tokens.long(), parents)
            self._choose(level, hidden, node, scores, out)
            # A dead beam continues beam 0, which changes nothing.
            parents = out.parent_beam.clamp(min=0).long()
            codes = _appended(codes, out.tokens, parents)
            dropped = out.best_dropped if dropped is None else dropped.maximum(out.best_dropped)
        assert codes is not None and dropped is not None, "a search has levels"
        last = steps[-1]
        codes = codes.masked_fill((last.node < 0).unsqueeze(2), -1)
        return DecodedBeams(codes, last.scores, last.node.long(), last.count, dropped)

    def _choose(
        self,
        level: int,
        hidden: torch.Tensor,
        node: torch.Tensor,
        scores: torch.Tensor,
        out: BeamStepResult,
    ) -> None:
        model, normalizer = self._model, self._bucket.normalizer
        begin, end = self._ranges.bounds(level)
        logits, log_normalizer = model.logits(hidden, begin, end), None
        if normalizer == "vocab":
            log_normalizer = vocab_log_normalizer(model, hidden, logits, begin)
        self._selection.step(
            logits,
            node,
            scores,
            self._bucket.widths[level],
            level,
            normalizer,
            log_normalizer,
            self._options[level],
            out,
        )


def _searched(batch: SearchBatch, requests: int) -> list[Searched]:
    """What each request searches, filled up with what the first does."""
    tries = batch.catalogues.per_request(len(batch))
    own: list[Searched] = list(zip(tries, batch.filters or [None] * len(batch), strict=True))
    return own + own[:1] * (requests - len(own))


def _appended(
    codes: torch.Tensor | None, tokens: torch.Tensor, parents: torch.Tensor
) -> torch.Tensor:
    """The codes of the beams that a step chose: [batch, beam, level] int32."""
    own = tokens.unsqueeze(2)
    if codes is None:
        return own
    past = codes.gather(1, parents.unsqueeze(2).expand(-1, -1, codes.shape[2]))
    return torch.cat((past, own), dim=2)


def _empty_prefilled(model: DecoderModel, bucket: Bucket) -> Prefilled:
    # Zeros: what lies past a prompt's end is weighted with 0, and 0 times NaN is NaN.
    def context(tokens: int) -> ContextKV:
        lengths = torch.zeros(bucket.batch, dtype=torch.int32, device=model.device)
        made = ContextKV.empty(model, lengths, tokens)
        made.keys.zero_()
        made.values.zero_()
        return made

    sizes = (bucket.batch, 1, model.shape.hidden_size)
    hidden = torch.zeros(sizes, dtype=model.dtype, device=model.device)
    if model.encoder is None:
        return Prefilled(context(bucket.prompt_tokens), None, hidden)
    start = context(len(model.decoder_prefix_ids))
    return Prefilled(start, context(bucket.prompt_tokens), hidden)


def _copy(read: ContextKV, kept: ContextKV) -> None:
    requests, tokens = len(read.lengths), read.keys.shape[3]
    kept.keys[:, :requests, :, :tokens] = read.keys
    kept.values[:, :requests, :, :tokens] = read.values
    kept.lengths.zero_()
    kept.lengths[:requests] = read.lengths
