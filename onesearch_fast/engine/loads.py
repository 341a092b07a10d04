"""How much of what each kind of work makes at a time."""

from __future__ import annotations

from onesearch_fast.engine.beam_search import SearchSettings
from onesearch_fast.engine.decoding import CHUNK_LOGITS
from onesearch_fast.engine.memory import BatchLoads
from onesearch_fast.engine.scoring import CHUNK_SIDS
from onesearch_fast.engine.search_batch import SearchBatch


def constrained_loads(batch: SearchBatch, settings: SearchSettings, vocab: int) -> BatchLoads:
    """Of a search over the trie; no level runs more beams than it has nodes."""
    catalogues = batch.catalogues
    most = max(catalogues.num_nodes(level) for level in range(1, catalogues.num_levels))
    return BatchLoads(
        batch.prompts.sizes,
        [min(beams, most) for beams in batch.num_beams],
        settings.widths[-1],
        vocab if settings.normalizer == "vocab" else 0,
        CHUNK_LOGITS,
    )


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
