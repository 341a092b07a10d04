"""`constrained_beam_step` in the native core: vector instructions, own threads, no allocation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from onesearch_fast import _C
from onesearch_fast.registry import Implementation

if TYPE_CHECKING:
    from onesearch_fast.index.item_filter import ItemFilter
    from onesearch_fast.index.sid_trie import SidTrie
    from onesearch_fast.ops.constrained_beam_step import BeamStepResult

# The numbers of csrc/ops/constrained_beam_step/constrained_beam_step.h.
_NORMALIZERS = {"level": 0, "children": 1, "none": 2, "vocab": 3}


def constrained_beam_step(
    logits: torch.Tensor,
    node: torch.Tensor,
    beam_scores: torch.Tensor,
    trie: SidTrie,
    num_beams: int,
    level: int,
    normalizer: str,
    log_normalizer: torch.Tensor | None,
    filters: tuple[ItemFilter | None, ...] | None,
    out: BeamStepResult,
) -> None:
    """Writes the best `num_beams` extensions of each request's beams into `out`."""
    _C.constrained_beam_step(
        logits,
        node,
        beam_scores,
        trie._handle,
        num_beams,
        level,
        _NORMALIZERS[normalizer],
        log_normalizer,
        None if filters is None else [one._handle if one else None for one in filters],
        out.scores,
        out.parent_beam,
        out.tokens,
        out.node,
        out.count,
    )


IMPLEMENTATION = Implementation(
    backend="cpu",
    device_types=("cpu",),
    dtypes=(torch.float32, torch.bfloat16, torch.float16),
    why_not=lambda: None,
    function=constrained_beam_step,
)
