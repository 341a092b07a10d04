"""The synthetic items: hidden properties drawn first, then what a seller tells of them."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import numpy as np
import numpy.typing as npt

from onesearch_fast.data.records import Item
from onesearch_fast.data.synthetic.concepts import Category, Lexicon
from onesearch_fast.data.synthetic.phrases import Phrases
from onesearch_fast.data.synthetic.utility import FEATURE_STEP, Floats, Ints, Layout, quantised

TITLE_LANGUAGES = ("en", "zh", "mixed")
TITLE_SHARES = (0.52, 0.34, 0.14)
SERIES_PER_BRAND = 2
SERIES_SHARE = 0.65
SERIES_KINDS = ("style", "material", "function")  # what the items of one series have in common
TWO_VALUES = {"function": 0.4, "scene": 0.4}  # chance of a second value
PRESENT = {"season": 0.6, "specification": 0.8}  # chance of any value; others always have one
ATTRIBUTE_FILLED = 0.7  # sellers leave fields empty
OUT_OF_STOCK = 0.03
POPULARITY_EXPONENT = 0.6
MIN_PRICE = 5


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Hidden truth of the items, one entry per catalogue row.

    category, brand, series: int64 [num_items], series -1 = none; has_value: bool [num_items,
    num_values]; price, quality: float32; language: int64, an index of TITLE_LANGUAGES;
    features: float32 [num_items, layout.width].
    """

    lexicon: Lexicon
    layout: Layout
    category: Ints
    department: Ints
    brand: Ints
    series: Ints
    series_word: Ints
    has_value: npt.NDArray[np.bool_]
    price: Floats
    quality: Floats
    language: Ints
    features: Floats

    def word_of_series(self, series: int) -> int | None:
        """Index of the lexicon's word for a series, None for no series."""
        return None if series < 0 else int(self.series_word[series])


def draw_catalogue(lexicon: Lexicon, num_items: int, rng: np.random.Generator) -> Catalogue:
    """Draws the hidden properties of `num_items` items."""
    layout = Layout(len(lexicon.categories), len(lexicon.values), len(lexicon.brands))
    category = _category_of_items(lexicon, num_items, rng)
    department_of = np.array([one.department for one in lexicon.categories])
    tier = rng.integers(-1, 2, size=layout.num_brands)
    num_series = layout.num_brands * SERIES_PER_BRAND
    brand, series = _brands_and_series(lexicon, category, rng)
    has_value = np.zeros((num_items, layout.num_values), dtype=bool)
    for number, one in enumerate(lexicon.categories):
        members = np.flatnonzero(category == number)
        _draw_values(one, members, series, num_series, has_value, rng)
    median = np.array([one.median_price for one in lexicon.categories])[category]
    premium = np.where(series < 0, 0.0, 0.3 * (series % SERIES_PER_BRAND))
    spread = 0.45 * tier[brand] + premium + 0.35 * rng.standard_normal(num_items)
    price = np.maximum(MIN_PRICE, np.round(median * np.exp(spread)))
    quality = quantised(rng.standard_normal(num_items) + 0.3 * tier[brand], FEATURE_STEP)
    popularity = -POPULARITY_EXPONENT * np.log(1.0 - rng.random(num_items))
    language = rng.choice(len(TITLE_LANGUAGES), size=num_items, p=TITLE_SHARES)
    features = _features(
        layout,
        category=category,
        has_value=has_value,
        brand=brand,
        language=language,
        appeal=0.6 * quality + popularity,
        relative_price=np.log(price / median),
    )
    return Catalogue(
        lexicon=lexicon,
        layout=layout,
        category=category,
        department=department_of[category],
        brand=brand,
        series=series,
        series_word=rng.permutation(np.arange(num_series) % len(lexicon.series)),
        has_value=has_value,
        price=price.astype(np.float32),
        quality=quality,
        language=language,
        features=features,
    )


def write_items(catalogue: Catalogue, random: Random) -> tuple[Item, ...]:
    """The records that the world sees; each tells only a part of the item's properties."""
    phrases = Phrases(catalogue.lexicon, random)
    return tuple(
        _write_item(catalogue, row, phrases, random) for row in range(len(catalogue.category))
    )


def _category_of_items(lexicon: Lexicon, num_items: int, rng: np.random.Generator) -> Ints:
    weights = np.array([category.weight for category in lexicon.categories])
    bounds = np.round(np.cumsum(weights) / weights.sum() * num_items).astype(np.int64)
    category = np.searchsorted(bounds, np.arange(num_items), side="right")
    return rng.permutation(category)


def _brands_and_series(
    lexicon: Lexicon, category: Ints, rng: np.random.Generator
) -> tuple[Ints, Ints]:
    """A brand sells in one or two departments; large and small brands follow Zipf's law."""
    num_brands = len(lexicon.brands)
    size = 1.0 / (1.0 + rng.permutation(num_brands)) ** 0.6
    sells = np.zeros((lexicon.num_departments, num_brands), dtype=bool)
    sells[np.arange(num_brands) % lexicon.num_departments, np.arange(num_brands)] = True
    second = rng.integers(0, lexicon.num_departments, size=num_brands)
    sells[second, np.arange(num_brands)] |= rng.random(num_brands) < 0.4
    brand = np.zeros(len(category), dtype=np.int64)
    for number, one in enumerate(lexicon.categories):
        members = np.flatnonzero(category == number)
        weights = size * sells[one.department]
        brand[members] = rng.choice(num_brands, size=len(members), p=weights / weights.sum())
    line = rng.integers(0, SERIES_PER_BRAND, size=len(category))
    in_series = rng.random(len(category)) < SERIES_SHARE
    return brand, np.where(in_series, brand * SERIES_PER_BRAND + line, -1)


def _draw_values(
    category: Category,
    members: Ints,
    series: Ints,
    num_series: int,
    has_value: npt.NDArray[np.bool_],
    rng: np.random.Generator,
) -> None:
    """Marks the values of the items of one category, in place; earlier values are commoner."""
    for kind, values in category.values.items():
        choices = np.array(values)
        weights = 1.0 / np.sqrt(1.0 + np.arange(len(values)))
        weights /= weights.sum()
        first = rng.choice(choices, size=len(members), p=weights)
        if kind in SERIES_KINDS:
            shared = rng.choice(choices, size=num_series, p=weights)
            first = np.where(series[members] >= 0, shared[series[members]], first)
        present = rng.random(len(members)) < PRESENT.get(kind, 1.0)
        has_value[members[present], first[present]] = True
        second = rng.choice(choices, size=len(members), p=weights)
        both = present & (rng.random(len(members)) < TWO_VALUES.get(kind, 0.0))
        has_value[members[both], second[both]] = True


def _features(
    layout: Layout,
    *,
    category: Ints,
    has_value: npt.NDArray[np.bool_],
    brand: Ints,
    language: Ints,
    appeal: npt.NDArray[np.float64],
    relative_price: npt.NDArray[np.float64],
) -> Floats:
    """float32 [num_items, layout.width]: one-hot and multi-hot columns, then the numbers."""
    rows = np.arange(len(category))
    features = np.zeros((len(category), layout.width), dtype=np.float32)
    features[rows, category] = 1.0
    features[:, layout.values : layout.brands] = has_value
    features[rows, layout.brands + brand] = 1.0
    features[rows, layout.languages + language] = 1.0
    features[:, layout.appeal] = quantised(appeal, FEATURE_STEP)
    price = quantised(relative_price, FEATURE_STEP)
    features[:, layout.price] = price
    features[:, layout.price + 1] = quantised(price.astype(np.float64) ** 2, FEATURE_STEP)
    return features


def _write_item(catalogue: Catalogue, row: int, phrases: Phrases, random: Random) -> Item:
    lexicon = catalogue.lexicon
    title_language = TITLE_LANGUAGES[catalogue.language[row]]
    language = "en" if title_language == "en" else "zh"
    category, brand = int(catalogue.category[row]), int(catalogue.brand[row])
    series = catalogue.word_of_series(int(catalogue.series[row]))
    values = [int(value) for value in np.flatnonzero(catalogue.has_value[row])]
    model = f"{random.choice('ABCDEFGHKMNPRSTVXZ')}{random.randrange(10, 1000)}"
    attributes: dict[str, tuple[str, ...]] = {}
    for value in values:
        kind = lexicon.values[value].kind
        if phrases.chance(ATTRIBUTE_FILLED):
            told = phrases.value(value, language)
            attributes[kind] = (*attributes.get(kind, ()), told)
    if series is not None:
        attributes["series"] = lexicon.series[series][language]
    attributes["model"] = (model,)
    return Item(
        item_id=f"p{row:05d}",
        title=phrases.title(title_language, category, brand, series, values, model),
        brand=lexicon.brands[brand][language][0],
        category=lexicon.categories[category].path,
        attributes=attributes,
        price=float(catalogue.price[row]),
        in_stock=not phrases.chance(OUT_OF_STOCK),
    )
