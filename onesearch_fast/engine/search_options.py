"""What else decides which beams survive, for all levels of a search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from onesearch_fast.engine.search_batch import SearchBatch
from onesearch_fast.errors import invalid
from onesearch_fast.ops.constrained_beam_step import BeamStepOptions, BeamStepResult, GumbelNoise


@dataclass(frozen=True)
class SearchOptions:
    """Priors, quotas, diversity and noise; scores stay plain sums of log-probabilities.

    They choose and order beams as `BeamStepOptions` does at each level.

    Attributes:
        node_priors: per level, [num_nodes(level + 1)] float32 in nats, or None; a prior counts at
            its own level alone. One catalogue for all requests.
        max_children_per_parent: so many beams may continue one beam, at every level.
        sibling_penalty: nats taken off for each better continuation of the same beam.
        seed: of stochastic beams, a sample of SIDs without replacement: one for all requests, or
            int64 [batch]. Equal seeds, prompts and weights give equal samples.
    """

    node_priors: Sequence[torch.Tensor | None] | None = None
    max_children_per_parent: int | None = None
    sibling_penalty: float = 0.0
    seed: int | torch.Tensor | None = None

    @property
    def keeps_certificates(self) -> bool:
        """Whether beams are chosen by score alone, so that what was dropped bounds what is not."""
        return self.node_priors is None and self.seed is None

    def seeds(self, where: str, batch: int) -> tuple[int, ...] | None:
        """The seed of each request; None without noise."""
        if self.seed is None:
            return None
        return seeds_per_request(where, "options.seed", self.seed, batch)


SEED_DTYPES = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)

NO_OPTIONS = SearchOptions()


def check_options(where: str, options: SearchOptions, num_levels: int) -> None:
    """As far as the levels themselves do not check it."""
    if not isinstance(options, SearchOptions):
        raise invalid(where, "options", "SearchOptions", type(options), kind=TypeError)
    priors = options.node_priors
    if priors is not None and len(priors) != num_levels:
        expected = f"a tensor or None per level ({num_levels})"
        raise invalid(where, "options.node_priors", expected, f"{len(priors)} of them")


def seeds_per_request(
    where: str, argument: str, seed: int | torch.Tensor, batch: int
) -> tuple[int, ...]:
    """The seed of each request, of one for all or of one each."""
    expected = f"an integer below 2^63, or int64 [batch] = [{batch}]"
    try:
        seeds = torch.as_tensor(seed)
    except (RuntimeError, TypeError, ValueError, OverflowError):
        raise invalid(where, argument, expected, seed) from None
    if seeds.dtype not in SEED_DTYPES or seeds.shape not in ((), (batch,)):
        raise invalid(where, argument, expected, seed)
    return tuple(seeds.expand(batch).tolist())


class LevelOptions:
    """The `BeamStepOptions` of each level of one search."""

    def __init__(
        self,
        options: SearchOptions,
        batch: SearchBatch,
        widths: Sequence[int],
        device: torch.device,
    ) -> None:
        self._options = options
        self._priors = options.node_priors or [None] * len(widths)
        self._widths = [_own_widths(batch.num_beams, width, device) for width in widths]
        self._seeds = None if batch.seeds is None else torch.tensor(batch.seeds, device=device)
        self._path = torch.empty(len(batch), 1, 0, dtype=torch.int32, device=device)

    @property
    def noisy(self) -> bool:
        """Whether results need room for perturbed scores."""
        return self._seeds is not None

    def at(self, level: int, beams: BeamStepResult) -> BeamStepOptions | None:
        """For the step from `beams` to those after `level`; None where scores alone decide."""
        options, prior, own = self._options, self._priors[level], self._widths[level]
        plain = options.max_children_per_parent is None and options.sibling_penalty == 0
        if plain and prior is None and own is None and not self.noisy:
            return None
        return BeamStepOptions(
            node_prior=prior,
            max_children_per_parent=options.max_children_per_parent,
            sibling_penalty=options.sibling_penalty,
            gumbel=self._noise(level, beams),
            beam_widths=own,
        )

    def _noise(self, level: int, beams: BeamStepResult) -> GumbelNoise | None:
        if self._seeds is None or beams.perturbed is None:
            return None
        if level:
            parents = beams.parent_beam.clamp(min=0).long().unsqueeze(2)
            inherited = self._path.gather(1, parents.expand(-1, -1, self._path.shape[2]))
            self._path = torch.cat((inherited, beams.tokens.unsqueeze(2)), dim=2)
        return GumbelNoise(self._seeds, self._path, beams.perturbed)


def _own_widths(num_beams: Sequence[int], width: int, device: torch.device) -> torch.Tensor | None:
    """Beams of each request after a level, int32 [batch]; None where all have `width`."""
    own = [min(most, width) for most in num_beams]
    if min(own) == width:
        return None
    return torch.tensor(own, dtype=torch.int32, device=device)
