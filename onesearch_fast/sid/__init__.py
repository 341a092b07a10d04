"""Semantic IDs: text encoders, codebooks, code names, quality."""

from __future__ import annotations

from onesearch_fast.lazy import lazy_names

# `quality` is both a module and its function: this import binds the name to the function for good.
from onesearch_fast.sid.quality import SidQuality, quality

_PUBLIC = {
    "AlignedEncoder": "onesearch_fast.sid.aligned_encoder",
    "Codebooks": "onesearch_fast.sid.codebooks",
    "Drift": "onesearch_fast.sid.drift",
    "Keyword": "onesearch_fast.sid.keywords",
    "KeywordDictionary": "onesearch_fast.sid.keywords",
    "KeywordEncoder": "onesearch_fast.sid.keyword_encoder",
    "LevelSizes": "onesearch_fast.sid.codes",
    "PrefixRanking": "onesearch_fast.sid.prefix_ranking",
    "Level": "onesearch_fast.sid.levels",
    "Refit": "onesearch_fast.sid.refit",
    "SemanticIds": "onesearch_fast.sid.build",
    "SidConfig": "onesearch_fast.sid.config",
    "SidReport": "onesearch_fast.sid.report",
    "TextEncoder": "onesearch_fast.sid.text_encoder",
    "TfidfEncoder": "onesearch_fast.sid.tfidf_encoder",
    "TransformersEncoder": "onesearch_fast.sid.transformers_encoder",
    "build_semantic_ids": "onesearch_fast.sid.build",
    "code_token_names": "onesearch_fast.sid.codes",
    "load_text_encoder": "onesearch_fast.sid.text_encoder",
    "measure_drift": "onesearch_fast.sid.drift",
    "refit_codebooks": "onesearch_fast.sid.refit",
    "suggest_level_sizes": "onesearch_fast.sid.codes",
}

__all__ = ["SidQuality", "quality", *_PUBLIC]
__getattr__ = lazy_names(__name__, _PUBLIC)


def __dir__() -> list[str]:
    return sorted(__all__)
