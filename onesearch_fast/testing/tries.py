"""Random catalogues of codes, even or skewed as real ones are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def random_codes(
    num_items: int, level_sizes: Sequence[int], seed: int = 0, skew: float = 0.0
) -> np.ndarray:
    """Codes [num_items, num_levels] int32, local to each level, duplicates possible.

    Code c of a level is drawn with probability proportional to 1 / (c + 1)^skew: 0 is uniform, 1 is
    Zipf's law. The codes of each level are then renamed at random, so that frequent codes lie
    anywhere in its range.
    """
    rng = np.random.default_rng(seed)
    codes = np.empty((num_items, len(level_sizes)), dtype=np.int32)
    for level, size in enumerate(level_sizes):
        weights = 1.0 / np.arange(1, size + 1) ** skew
        drawn = rng.choice(size, size=num_items, p=weights / weights.sum())
        codes[:, level] = rng.permutation(size)[drawn]
    return codes
