"""Independent samples of SIDs: what reinforcement learning rolls out."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from onesearch_fast.engine.beam_search import SearchSpace
from onesearch_fast.engine.decoding import BeamDecoder
from onesearch_fast.engine.search_batch import SearchBatch
from onesearch_fast.engine.search_options import seeds_per_request
from onesearch_fast.ops.constrained_beam_step import (
    BeamStepOptions,
    BeamStepResult,
    GumbelNoise,
    constrained_beam_step,
)

_GOLDEN = 0x9E3779B97F4A7C15  # spreads neighbouring numbers over all 64 bits


@dataclass(frozen=True)
class Samples:
    """What was drawn for each prompt.

    Attributes:
        codes: int32 [batch, sample, level], local to each level.
        log_probs: float32 [batch, sample]: the log-probability with which each was drawn.
        rank: int64 [batch, sample].
    """

    codes: torch.Tensor
    log_probs: torch.Tensor
    rank: torch.Tensor


def seeds_of_requests(where: str, seed: int | torch.Tensor, batch: int) -> tuple[int, ...]:
    """The seed of each request; of one for all, each has draws of its own."""
    seeds = seeds_per_request(where, "seed", seed, batch)
    if torch.as_tensor(seed).dim():
        return seeds
    return tuple(one + (row << 32) for row, one in enumerate(seeds))


@torch.inference_mode()
def sample_sids(
    space: SearchSpace, batch: SearchBatch, num_samples: int, temperature: float
) -> Samples:
    """`num_samples` SIDs a request, each drawn alone: code by code, from those that lead on.

    The prompt is read once for all of its samples. A sample is a row of its own with one beam, and
    the best of its children after Gumbel noise is a draw from their softmax.
    """
    sampler = _Sampler(space, batch, num_samples, temperature)
    beams = sampler.root()
    for level in range(len(space.ranges.sizes)):
        beams = sampler.step(level, beams)
    shape = (len(batch), num_samples)
    rank = beams.node.long().view(shape)
    codes = torch.from_numpy(batch.catalogues.codes(rank.cpu().numpy())).to(rank.device)
    return Samples(codes, beams.scores.view(shape), rank)


class _Sampler:
    def __init__(
        self, space: SearchSpace, batch: SearchBatch, num_samples: int, temperature: float
    ) -> None:
        model, passes = space.model, len(space.ranges.sizes) - 1
        self._space = space
        self._num_samples = num_samples
        self._temperature = temperature
        self._tries = batch.catalogues.argument
        if isinstance(self._tries, list):
            self._tries = [trie for trie in self._tries for _ in range(num_samples)]
        assert batch.seeds is not None, "every draw has a seed"
        self._seeds = _sample_seeds(batch.seeds, num_samples).to(model.device)
        self._read = space.reader.read(model, batch.prompts).prefilled
        self._decoder = BeamDecoder(model, self._read, passes, num_samples)
        self._shape = (len(batch), num_samples)
        self._path = self._seeds.new_empty((len(self._seeds), 1, 0), dtype=torch.int32)

    def root(self) -> BeamStepResult:
        beams = self._empty()
        for column in (beams.scores, beams.parent_beam, beams.tokens, beams.node, beams.perturbed):
            assert column is not None, "noise leaves perturbed scores"
            column.zero_()
        return beams

    def step(self, level: int, beams: BeamStepResult) -> BeamStepResult:
        """Every sample, one code longer."""
        logits = self._space.model.logits(
            self._hidden(level, beams), *self._space.ranges.bounds(level)
        )
        logits = logits.expand(*self._shape, -1).reshape(len(self._seeds), 1, -1)
        assert beams.perturbed is not None, "noise leaves perturbed scores"
        return constrained_beam_step(
            logits if self._temperature == 1.0 else logits / self._temperature,
            beams.node,
            beams.scores,
            self._tries,
            1,
            level,
            normalizer="children",
            options=BeamStepOptions(gumbel=GumbelNoise(self._seeds, self._path, beams.perturbed)),
            out=self._empty(),
        )

    def _hidden(self, level: int, beams: BeamStepResult) -> torch.Tensor:
        """[batch, 1 or samples, hidden]: what decides `level`."""
        if level == 0:
            return self._read.hidden
        self._path = torch.cat((self._path, beams.tokens.unsqueeze(2)), dim=2)
        tokens = beams.tokens.clamp(min=0).view(self._shape).long()
        parents = torch.arange(self._num_samples, device=tokens.device).expand(self._shape)
        parents = torch.zeros_like(parents) if level == 1 else parents
        return self._decoder.advance(tokens + self._space.ranges.offsets[level - 1], parents)

    def _empty(self) -> BeamStepResult:
        return BeamStepResult.empty(len(self._seeds), 1, self._space.model.device, perturbed=True)


def _sample_seeds(seeds: tuple[int, ...], num_samples: int) -> torch.Tensor:
    """int64 [batch x samples]: another seed for each sample of each request."""
    signed = [
        ((seed * num_samples + sample) * _GOLDEN + (1 << 63)) % (1 << 64) - (1 << 63)
        for seed in seeds
        for sample in range(num_samples)
    ]
    return torch.tensor(signed, dtype=torch.int64)
