"""How semantic IDs are made, apart from torch: help texts show the defaults."""

from __future__ import annotations

from dataclasses import dataclass

TFIDF = "tfidf"


@dataclass(frozen=True)
class SidConfig:
    """How semantic IDs are made.

    encoder: "tfidf" (fitted on the catalogue, no download), a folder written by
    `TextEncoder.save`, or a Hugging Face folder.
    text_dim: width of the TF-IDF vectors. level_sizes, opq: as `Codebooks.fit`; None takes
    `suggest_level_sizes` for the number of distinct vectors. The rest: as `Codebooks.fit`.
    """

    encoder: str = TFIDF
    text_dim: int = 256
    level_sizes: tuple[int, ...] | None = None
    opq: tuple[int, ...] | None = None
    normalize_residuals: bool = True
    seed: int = 0
    iterations: int = 25
    balance_slack: float | None = None
    balance_by_first_code: bool = False
    opq_directions: int | None = None
    prq: bool = False
