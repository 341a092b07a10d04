"""The hidden utilities: what an item is worth to a shopper with an intent, as one matrix product.

u(shopper, intent, item) = w(shopper, intent) . f(item) - penalties, and the item that is taken is
argmax(u + temperature * Gumbel noise): a multinomial logit choice (McFadden 1974).

Features and weights are multiples of small powers of two, so every float32 sum is exact: the order
of summation, and with it the BLAS, the thread count and the processor, cannot change a choice.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

FEATURE_STEP = 2.0**-5
WEIGHT_STEP = 2.0**-8

# Utility in units of the noise, before TEMPERATURE. Chosen for realism before any model was
# trained: an asked property outweighs taste, taste outweighs popularity, noise is never small.
IN_CATEGORY = 6.0
ASKED_VALUE = 2.5
NEGATED_VALUE = -4.0
ASKED_BRAND = 4.0
OVER_PRICE = -4.0
SAME_SERIES = -5.0
TEMPERATURE = 1.0

_GUMBEL_CELLS = 1 << 16


@dataclass(frozen=True, slots=True)
class Layout:
    """Which feature columns mean what: categories, values, brands, then five single columns."""

    num_categories: int
    num_values: int
    num_brands: int

    @property
    def values(self) -> int:
        return self.num_categories

    @property
    def brands(self) -> int:
        return self.values + self.num_values

    @property
    def languages(self) -> int:
        """Three columns: title in English, in Chinese, in both."""
        return self.brands + self.num_brands

    @property
    def appeal(self) -> int:
        return self.languages + 3

    @property
    def price(self) -> int:
        """Two columns: log of price over the category's median, and its square."""
        return self.appeal + 1

    @property
    def width(self) -> int:
        return self.price + 2


@dataclass(frozen=True, slots=True)
class Intent:
    """What a shopper wants in one session; numbers index the lexicon, `series` the catalogue's."""

    kind: str
    categories: tuple[int, ...]
    wanted: tuple[int, ...] = ()
    negated: tuple[int, ...] = ()
    brand: int | None = None
    avoided_series: int | None = None
    max_price: float = math.inf


def quantised(values: npt.ArrayLike, step: float) -> Floats:
    """The nearest multiples of `step`, float32."""
    return (np.round(np.asarray(values, dtype=np.float64) / step) * step).astype(np.float32)


def intent_weights(layout: Layout, intents: Sequence[Intent]) -> Floats:
    """float32 [num_intents, layout.width]: what the intents add to their shoppers' weights."""
    weights = np.zeros((len(intents), layout.width), dtype=np.float32)
    for row, intent in zip(weights, intents, strict=True):
        row[list(intent.categories)] = IN_CATEGORY
        row[[layout.values + value for value in intent.wanted]] = ASKED_VALUE
        row[[layout.values + value for value in intent.negated]] = NEGATED_VALUE
        if intent.brand is not None:
            row[layout.brands + intent.brand] = ASKED_BRAND
    return weights


def subtract_penalties(
    utilities: Floats, intents: Sequence[Intent], prices: Floats, series: Ints
) -> None:
    """In place on [num_intents, num_items]: items over the price limit or of the avoided series."""
    for row, intent in zip(utilities, intents, strict=True):
        if math.isfinite(intent.max_price):
            row[prices > intent.max_price] += OVER_PRICE
        if intent.avoided_series is not None:
            row[series == intent.avoided_series] += SAME_SERIES


class GumbelNoise:
    """Standard Gumbel noise times TEMPERATURE, by table: exact on every machine, and fast."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        cells = (np.arange(_GUMBEL_CELLS) + 0.5) / _GUMBEL_CELLS
        self._table = quantised(-TEMPERATURE * np.log(-np.log(cells)), WEIGHT_STEP)

    def draw(self, shape: tuple[int, ...]) -> Floats:
        return self._table[self._rng.integers(0, _GUMBEL_CELLS, size=shape, dtype=np.uint16)]
