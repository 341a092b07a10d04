"""`constrained_beam_step` in CUDA: one kernel of clusters, or two where the logits are large."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from onesearch_fast import _C
from onesearch_fast.kernels.cuda._device import slots_on, why_not
from onesearch_fast.registry import Implementation

if TYPE_CHECKING:
    from onesearch_fast.index.item_filter import ItemFilter, Searched
    from onesearch_fast.index.sid_trie import SidTrie
    from onesearch_fast.ops.constrained_beam_step import BeamStepOptions, BeamStepResult


def constrained_beam_step(
    logits: torch.Tensor,
    node: torch.Tensor,
    beam_scores: torch.Tensor,
    trie: SidTrie | Sequence[SidTrie],
    num_beams: int,
    level: int,
    normalizer: str,
    log_normalizer: torch.Tensor | None,
    filter: ItemFilter | Sequence[ItemFilter | None] | None,
    options: BeamStepOptions | None,
    out: BeamStepResult,
) -> None:
    """Writes the best `num_beams` extensions of each request's beams into `out`."""
    arguments = (logits, node, beam_scores, trie, num_beams, level, normalizer, log_normalizer)
    _C.check_constrained_beam_step(*arguments, filter, options, out)
    batch = logits.shape[0]
    if batch == 0:
        return
    tries = trie if isinstance(trie, Sequence) else [trie] * batch
    filters = filter if isinstance(filter, Sequence) else [filter] * batch
    slots = slots_on(list(zip(tries, filters, strict=True)), logits.device)
    _enqueue(*arguments, filter, options, out, slots)


def _enqueue(
    logits: torch.Tensor,
    node: torch.Tensor,
    beam_scores: torch.Tensor,
    trie: SidTrie | Sequence[SidTrie],
    num_beams: int,
    level: int,
    normalizer: str,
    log_normalizer: torch.Tensor | None,
    filter: ItemFilter | Sequence[ItemFilter | None] | None,
    options: BeamStepOptions | None,
    out: BeamStepResult,
    slots: torch.Tensor,
) -> None:
    """The step over what `slots` point to; `trie` and `filter` are only checked for their form."""
    shares, cluster, list_bytes = _C.plan_beam_step(logits, num_beams)
    memory = logits.new_empty(list_bytes, dtype=torch.uint8)
    _C.constrained_beam_step_cuda(
        *(logits, node, beam_scores, trie, num_beams, level, normalizer, log_normalizer),
        *(filter, options, out, slots, shares, cluster, memory),
    )


class FixedSlots:
    """The fixed form: a table of slots, each of which points to a trie, changes and a filter.

    The kernel reads it when it runs, so between two replays of a graph only the table changes.
    """

    def __init__(self, form: SidTrie, requests: int, device: torch.device) -> None:
        """form: a trie of the same level sizes, which is kept to check arguments by."""
        self._form = form
        self._slots = slots_on([(form, None)] * requests, device).clone()

    def point_at(self, requests: Sequence[Searched]) -> None:
        """Has the next runs search these, one (trie, filter or None) a request."""
        self._slots.copy_(slots_on(requests, self._slots.device))

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
        """`constrained_beam_step` over what the slots point to."""
        arguments = (logits, node, beam_scores, self._form, num_beams, level)
        _enqueue(*arguments, normalizer, log_normalizer, None, options, out, self._slots)


IMPLEMENTATION = Implementation(
    backend="cuda",
    device_types=("cuda",),
    dtypes=(torch.float32, torch.bfloat16, torch.float16),
    why_not=why_not,
    function=constrained_beam_step,
    fixed=FixedSlots,
)
