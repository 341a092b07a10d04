"""How pairs are mined, apart from the miner: help texts show the defaults."""

from __future__ import annotations

from dataclasses import dataclass

from onesearch_fast.errors import invalid
from onesearch_fast.sid.seeds import check_seed


@dataclass(frozen=True)
class MiningConfig:
    """per_thing: pairs kept of each item or query, by each method. swing_alpha: as `swing`.

    min_similarity: pairs below it under the encoder to be aligned are dropped as noise.
    """

    per_thing: int = 10
    swing_alpha: float = 1.0
    min_similarity: float = 0.6
    seed: int = 0

    def __post_init__(self) -> None:
        where = "MiningConfig"
        if self.per_thing < 1 or not self.swing_alpha > 0:
            got = (self.per_thing, self.swing_alpha)
            raise invalid(where, "per_thing, swing_alpha", "at least 1, more than 0", got)
        if not -1 <= self.min_similarity <= 1:
            raise invalid(where, "min_similarity", "in [-1, 1]", self.min_similarity)
        check_seed(where, self.seed)
