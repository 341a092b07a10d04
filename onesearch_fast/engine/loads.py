"""How much of what each kind of work makes at a time."""

from __future__ import annotations

from dataclasses import replace

import torch

from onesearch_fast.engine.beam_search import SearchSettings
from onesearch_fast.engine.catalogues import Catalogues
from onesearch_fast.engine.decoding import CHUNK_LOGITS
from onesearch_fast.engine.memory import NO_RANKING, BatchLoads, Ranking
from onesearch_fast.engine.scoring import CHUNK_SIDS
from onesearch_fast.engine.search_batch import SearchBatch
from onesearch_fast.engine.search_options import NO_OPTIONS
from onesearch_fast.ops.constrained_beam_step import MAX_CUDA_BEAMS, OPERATOR
from onesearch_fast.registry import named_backend, why_not

# Bytes of a child in a GPU's step that ranks siblings, and in one that only keeps all keys.
RANKED_CHILD, KEPT_CHILD = 100, 16


def constrained_loads(
    batch: SearchBatch, settings: SearchSettings, vocab: int, device: torch.device
) -> BatchLoads:
    """Of a search over the trie; no level runs more beams than it has nodes."""
    catalogues = batch.catalogues
    most = max(catalogues.num_nodes(level) for level in range(1, catalogues.num_levels))
    return BatchLoads(
        batch.prompts.sizes,
        [min(beams, most) for beams in batch.num_beams],
        settings.widths[-1],
        vocab if settings.normalizer == "vocab" else 0,
        CHUNK_LOGITS,
        _ranking(batch, settings, device),
    )


def sampling_loads(
    batch: SearchBatch, settings: SearchSettings, device: torch.device
) -> BatchLoads:
    """Of samples, which are beams from the root on, however few the nodes."""
    loads = constrained_loads(batch, settings, 0, device)
    of_sample = Ranking(beam=max(loads.ranking.root, loads.ranking.beam))
    return replace(loads, beams=batch.num_beams, ranking=of_sample)


def _ranking(batch: SearchBatch, settings: SearchSettings, device: torch.device) -> Ranking:
    """Of a GPU's step that has a place for every child of every beam."""
    if device.type == "cpu":
        return NO_RANKING
    if settings.options != NO_OPTIONS or batch.seeds is not None:
        return _of_children(batch.catalogues, RANKED_CHILD)
    narrow = max(settings.widths) <= MAX_CUDA_BEAMS
    fused = named_backend() in (None, "cuda") and why_not(OPERATOR, "cuda", device.type) is None
    return NO_RANKING if narrow and fused else _of_children(batch.catalogues, KEPT_CHILD)


def _of_children(catalogues: Catalogues, child: int) -> Ranking:
    """Of the most children that nodes can have."""
    root, *levels = (
        child * min(size, catalogues.num_nodes(level + 1))
        for level, size in enumerate(catalogues.members[0].level_sizes)
    )
    return Ranking(root, max(levels, default=0))


def unconstrained_loads(batch: SearchBatch, vocab: int) -> BatchLoads:
    """Of a search over the vocabulary, which selects for one request after the other."""
    beams = max(batch.num_beams)
    # Log-probabilities and candidates stand beside each other.
    logits = 2 * vocab
    lengths = batch.prompts.sizes
    return BatchLoads(lengths, batch.num_beams, beams, logits, beams * logits)


def scoring_loads(batch: SearchBatch, normalizer: str, vocab: int) -> BatchLoads:
    """Of teacher forcing, which keeps two more copies of a level's logits than a search does."""
    sids = batch.num_beams[0]
    return BatchLoads(
        batch.prompts.sizes,
        [2 * min(sids, CHUNK_SIDS)] * len(batch),
        sids,
        vocab if normalizer == "vocab" else 0,
        CHUNK_LOGITS,
    )
