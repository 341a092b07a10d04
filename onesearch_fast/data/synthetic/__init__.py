"""An embedded shop: a seeded catalogue with users, whose clicks follow from hidden utilities.

It is the default data of `onesearch-fast demo`. The truth is known, so an oracle gives the ceiling
that any system can reach. Neither the lexicon nor any constant was tuned to a model.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
import numpy.typing as npt

from onesearch_fast.data.records import Dataset
from onesearch_fast.data.split import SEARCH, EvalCase, Split, leave_last_out
from onesearch_fast.data.synthetic.catalogue import draw_catalogue, write_items
from onesearch_fast.data.synthetic.concepts import load_lexicon
from onesearch_fast.data.synthetic.oracle import Oracle
from onesearch_fast.data.synthetic.sessions import SessionSimulator, write_interactions
from onesearch_fast.data.synthetic.shoppers import draw_shoppers, write_users
from onesearch_fast.errors import invalid

__all__ = ["Oracle", "SyntheticCatalogue", "SyntheticSummary", "make_newcomers", "make_synthetic"]

MIN_ITEMS = 200  # fewer would leave categories without items


@dataclass(frozen=True, slots=True)
class SyntheticSummary:
    """Counts of the data, and two ends of the scale on its held-out searches.

    Both `hr@10` maps have "all" and one entry per query kind: the oracle's, and that of the most
    popular items of the target's category (a cheat: no system is told the category).
    """

    counts: Mapping[str, int]
    events: Mapping[str, int]
    query_kinds: Mapping[str, int]
    oracle_hr10: Mapping[str, float]
    category_popularity_hr10: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class SyntheticCatalogue:
    """The records, and the one who knows how they came about."""

    dataset: Dataset
    oracle: Oracle

    def summary(self) -> SyntheticSummary:
        """Counts and sanity figures; splits the log and ranks every held-out search."""
        split = leave_last_out(self.dataset)
        cases = split.cases[SEARCH]
        log = self.dataset.interactions
        sessions = {row.session_id: row.query_kind or "" for row in log}
        counts = {
            "items": len(self.dataset.items),
            "users": len(self.dataset.users),
            "sessions": len(sessions),
            "distinct_queries": len({row.query for row in log}),
            "held_out_searches": len(cases),
        }
        return SyntheticSummary(
            counts=counts,
            events=dict(Counter(row.event for row in log)),
            query_kinds=dict(Counter(sessions.values())),
            oracle_hr10=_hit_rates(cases, self.oracle.rank(cases, 10)),
            category_popularity_hr10=_hit_rates(cases, _popular_in_category(split, 10)),
        )


def make_synthetic(
    seed: int = 0,
    num_items: int = 12_000,
    num_users: int = 6_000,
    sessions_per_user: float = 12.0,
    num_days: int = 90,
) -> SyntheticCatalogue:
    """Draws a catalogue, its users and their log; equal arguments give equal data.

    Items have hidden properties of which title and attributes tell a part, in English, Chinese or
    both. Users have a language and tastes for brands, prices, colours and styles that stay or
    change once. In a session a user has an item in mind, asks for some of its properties in words
    (`query_kind`: head, attribute, tail, negation, question, substitution, brand_constraint) and
    clicks argmax(utility + Gumbel noise) over the department's items not clicked before.

    Cost: about 6 s and 0.4 GiB at the default size on one core.
    """
    return _draw(_USERS, seed, num_items, num_users, sessions_per_user, num_days)


def make_newcomers(
    seed: int = 0,
    num_items: int = 12_000,
    num_users: int = 6_000,
    sessions_per_user: float = 12.0,
    num_days: int = 90,
) -> SyntheticCatalogue:
    """Other users of the shop that `make_synthetic` draws by the same `seed` and `num_items`.

    The items are the same; users, sessions and words come from random streams of their own, and no
    user id stands in both logs. For cases of users of whom nothing was trained on.
    """
    return _draw(_NEWCOMERS, seed, num_items, num_users, sessions_per_user, num_days)


@dataclass(frozen=True, slots=True)
class _Crowd:
    """Users that are drawn together: what their ids begin with, and their random streams."""

    prefix: str
    first_stream: int
    words: str


_USERS = _Crowd("u", 1, "")
_NEWCOMERS = _Crowd("n", 3, "newcomers' ")


def _draw(
    crowd: _Crowd,
    seed: int,
    num_items: int,
    num_users: int,
    sessions_per_user: float,
    num_days: int,
) -> SyntheticCatalogue:
    _check(seed, num_items, num_users, sessions_per_user, num_days)
    lexicon = load_lexicon()
    rngs = [np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(5)]
    item_rng, (user_rng, session_rng) = rngs[0], rngs[crowd.first_stream :][:2]
    catalogue = draw_catalogue(lexicon, num_items, item_rng)
    shoppers = draw_shoppers(lexicon, catalogue.layout, num_users, num_days, user_rng, crowd.prefix)
    queries = Random(f"{crowd.words}queries {seed}")
    simulator = SessionSimulator(catalogue, shoppers, session_rng, queries)
    sessions = simulator.run(sessions_per_user, num_days)
    times = Random(f"{crowd.words}times {seed}")
    dataset = Dataset(
        name="synthetic",
        items=write_items(catalogue, Random(f"titles {seed}")),
        users=write_users(lexicon, shoppers, user_rng),
        interactions=write_interactions(sessions, shoppers, times),
    )
    return SyntheticCatalogue(dataset, Oracle(catalogue, shoppers, sessions))


def _check(
    seed: int, num_items: int, num_users: int, sessions_per_user: float, num_days: int
) -> None:
    where = "make_synthetic"
    if seed < 0:
        raise invalid(where, "seed", "an integer >= 0", seed)
    if num_items < MIN_ITEMS:
        raise invalid(where, "num_items", f"at least {MIN_ITEMS}", num_items)
    if num_users < 1:
        raise invalid(where, "num_users", "at least 1", num_users)
    if not sessions_per_user > 0:
        raise invalid(where, "sessions_per_user", "a positive mean", sessions_per_user)
    if num_days < 1:
        raise invalid(where, "num_days", "at least 1", num_days)


def _hit_rates(cases: Sequence[EvalCase], ranked: npt.NDArray[np.int32]) -> dict[str, float]:
    hits: dict[str, list[bool]] = defaultdict(list)
    for case, rows in zip(cases, ranked, strict=True):
        for group in ("all", case.query_kind or ""):
            hits[group].append(bool((rows == case.target_row).any()))
    return {group: float(np.mean(values)) for group, values in hits.items()}


def _popular_in_category(split: Split, k: int) -> npt.NDArray[np.int32]:
    """int32 [num_cases, k]: the most popular items of the target's category, history removed."""
    by_category: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for row in np.argsort(-split.log.item_popularity(), kind="stable"):
        by_category[split.log.items[row].category].append(int(row))
    ranked = np.full((len(split.cases[SEARCH]), k), -1, dtype=np.int32)
    for best, case in zip(ranked, split.cases[SEARCH], strict=True):
        seen = {event.row for event in case.history}
        rows = by_category[split.log.items[case.target_row].category]
        fresh = [row for row in rows if row not in seen][:k]
        best[: len(fresh)] = fresh
    return ranked
