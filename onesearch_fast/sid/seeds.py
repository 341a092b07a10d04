"""Seeds that every fitter takes."""

from __future__ import annotations

from onesearch_fast.errors import invalid

# Each level adds its number to the seed, and scikit-learn keeps seeds in 32 bits.
_SEED_LIMIT = 1 << 30


def check_seed(where: str, seed: int) -> None:
    """Raises ValueError unless numpy and scikit-learn take the seed, and the levels after it."""
    if not 0 <= seed < _SEED_LIMIT:
        raise invalid(where, "seed", f"an integer in [0, {_SEED_LIMIT})", seed)
