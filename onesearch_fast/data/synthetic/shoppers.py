"""The synthetic users: language, tastes that stay or drift, and what they tend to shop for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from onesearch_fast.data.records import User
from onesearch_fast.data.synthetic.concepts import LANGUAGES, Lexicon
from onesearch_fast.data.synthetic.utility import WEIGHT_STEP, Floats, Ints, Layout, quantised

CHINESE_SHARE = 0.36
PARENT_SHARE = 0.3
PET_SHARE = 0.35
DRIFT_SHARE = 0.35
PROFILE_SHARE = 0.8
COMPANION_SHARE = 0.3  # sessions that follow up on the last one: a phone, then a case
REPEAT_SHARE = 0.1  # sessions in the category of the last one

# kind of value -> (chance that a shopper likes it, how much)
LIKED_VALUES = {"colour": (0.2, 0.9), "style": (0.25, 1.1), "material": (0.15, 0.6)}
LIKED_BRAND = (0.15, 1.7)
DISLIKED_BRAND = (0.1, -1.2)
PRICE_TASTE = 0.9
OWN_AUDIENCE, OTHER_AUDIENCE = 1.5, -1.5
OWN_LANGUAGE, MIXED_LANGUAGE = 1.0, 0.6


@dataclass(frozen=True, slots=True)
class Shoppers:
    """Hidden truth of the users, one entry per user.

    prefix: what their ids begin with;
    language: index of LANGUAGES; drift_day: float64, inf = tastes stay; tastes: float32 [2,
    num_users, layout.width], before and after the drift; interests: float64 [num_users,
    num_categories], rows sum to 1; follow_up: float64 [num_categories, num_categories], the
    companions of a category.
    """

    prefix: str
    language: Ints
    woman: npt.NDArray[np.bool_]
    age: Ints
    drift_day: npt.NDArray[np.float64]
    tastes: Floats
    interests: npt.NDArray[np.float64]
    follow_up: npt.NDArray[np.float64]

    def user_id(self, number: int) -> str:
        return f"{self.prefix}{number:05d}"

    def category_probabilities(self, users: Ints, previous: Ints) -> npt.NDArray[np.float64]:
        """float64 [n, num_categories]: where the next session goes; `previous` -1 = the first."""
        base = self.interests[users]
        known = previous >= 0
        last = np.zeros_like(base)
        last[known, previous[known]] = 1.0
        moved = (
            (1.0 - COMPANION_SHARE - REPEAT_SHARE) * base
            + COMPANION_SHARE * self.follow_up[previous]
            + REPEAT_SHARE * last
        )
        return np.where(known[:, None], moved, base)


def draw_shoppers(
    lexicon: Lexicon,
    layout: Layout,
    num_users: int,
    num_days: int,
    rng: np.random.Generator,
    prefix: str,
) -> Shoppers:
    """Draws languages, demographics, tastes before and after a drift, and interests."""
    woman = rng.random(num_users) < 0.55
    parent = rng.random(num_users) < PARENT_SHARE
    language = (rng.random(num_users) < CHINESE_SHARE).astype(np.int64)
    drifts = rng.random(num_users) < DRIFT_SHARE
    day = num_days * (1.0 + rng.random(num_users)) / 3.0
    fixed = _fixed_tastes(lexicon, layout, woman, parent, language)
    tastes = np.stack([fixed + _fickle_tastes(lexicon, layout, num_users, rng) for _ in range(2)])
    companions = np.zeros((layout.num_categories, layout.num_categories))
    for number, category in enumerate(lexicon.categories):
        companions[number, list(category.companions)] = 1.0 / len(category.companions)
    return Shoppers(
        prefix=prefix,
        language=language,
        woman=woman,
        age=rng.integers(0, len(lexicon.profile["ages"]), size=num_users),
        drift_day=np.where(drifts, day, np.inf),
        tastes=quantised(tastes, WEIGHT_STEP),
        interests=_interests(lexicon, parent, num_users, rng),
        follow_up=companions,
    )


def write_users(lexicon: Lexicon, shoppers: Shoppers, rng: np.random.Generator) -> tuple[User, ...]:
    """The records that the world sees: an id, and for most a profile in the user's language."""
    told = rng.random(len(shoppers.language)) < PROFILE_SHARE
    return tuple(
        User(shoppers.user_id(number), _profile(lexicon, shoppers, number) if is_told else None)
        for number, is_told in enumerate(told)
    )


def _fixed_tastes(
    lexicon: Lexicon,
    layout: Layout,
    woman: npt.NDArray[np.bool_],
    parent: npt.NDArray[np.bool_],
    language: Ints,
) -> npt.NDArray[np.float64]:
    tastes = np.zeros((len(woman), layout.width))
    own = {"women": woman, "men": ~woman, "kids": parent}
    for number, value in enumerate(lexicon.values):
        if value.kind == "audience" and value.name in own:
            signs = np.where(own[value.name], OWN_AUDIENCE, OTHER_AUDIENCE)
            tastes[:, layout.values + number] = signs
    tastes[np.arange(len(woman)), layout.languages + language] = OWN_LANGUAGE
    tastes[:, layout.languages + len(LANGUAGES)] = MIXED_LANGUAGE
    tastes[:, layout.appeal] = 1.0
    return tastes


def _fickle_tastes(
    lexicon: Lexicon, layout: Layout, num_users: int, rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    tastes = np.zeros((num_users, layout.width))
    for number, value in enumerate(lexicon.values):
        if value.kind in LIKED_VALUES:
            chance, weight = LIKED_VALUES[value.kind]
            tastes[:, layout.values + number] = weight * (rng.random(num_users) < chance)
    brands = slice(layout.brands, layout.brands + layout.num_brands)
    draws = rng.random((num_users, layout.num_brands))
    tastes[:, brands] += LIKED_BRAND[1] * (draws < LIKED_BRAND[0])
    tastes[:, brands] += DISLIKED_BRAND[1] * (draws > 1.0 - DISLIKED_BRAND[0])
    # -a (p - t)^2 = -a p^2 + 2 a t p - const, with p the relative log price and t the taste.
    tier = rng.choice([-0.5, 0.0, 0.5], size=num_users)
    tastes[:, layout.price] = 2.0 * PRICE_TASTE * tier
    tastes[:, layout.price + 1] = -PRICE_TASTE
    return tastes


def _interests(
    lexicon: Lexicon, parent: npt.NDArray[np.bool_], num_users: int, rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    pets = rng.random(num_users) < PET_SHARE
    keen = np.exp(1.1 * rng.standard_normal((num_users, lexicon.num_departments)))
    paths = {category.path[0]: category.department for category in lexicon.categories}
    keen[:, paths["Baby & Toys"]] *= np.where(parent, 2.5, 0.15)
    keen[:, paths["Pet Supplies"]] *= np.where(pets, 2.5, 0.1)
    department = np.array([category.department for category in lexicon.categories])
    weight = np.array([category.weight for category in lexicon.categories])
    interests: npt.NDArray[np.float64] = keen[:, department] * weight
    interests /= interests.sum(axis=1, keepdims=True)
    return interests


def _profile(lexicon: Lexicon, shoppers: Shoppers, number: int) -> str:
    words = lexicon.profile[LANGUAGES[shoppers.language[number]]]
    gender = words["women" if shoppers.woman[number] else "men"]
    age = lexicon.profile["ages"][shoppers.age[number]]
    return str(words["pattern"]).format(gender=gender, age=age)
