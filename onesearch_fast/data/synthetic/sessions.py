"""The synthetic log: a session has an intent, a query, shows, a click, perhaps an order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
import numpy.typing as npt

from onesearch_fast.data.records import Interaction
from onesearch_fast.data.synthetic.catalogue import Catalogue
from onesearch_fast.data.synthetic.concepts import LANGUAGES
from onesearch_fast.data.synthetic.phrases import Phrases
from onesearch_fast.data.synthetic.shoppers import Shoppers
from onesearch_fast.data.synthetic.utility import (
    IN_CATEGORY,
    Floats,
    GumbelNoise,
    Intent,
    Ints,
    intent_weights,
    subtract_penalties,
)

KINDS = {
    "head": 0.26,
    "attribute": 0.28,
    "tail": 0.18,
    "brand_constraint": 0.10,
    "negation": 0.07,
    "question": 0.06,
    "substitution": 0.05,
}
NEGATED_KINDS = ("colour", "material", "pattern", "style")
OWN_LANGUAGE_SHARE = 0.9  # queries in the shopper's own language
ABANDONED_SHARE = 0.1  # sessions that end without a click
FEW_SESSIONS_SHARE = 0.15  # users with one to three sessions
MAX_SHOWN = 6
SESSION_SPACING = 3600
DAY = 86_400
START = 1_735_689_600  # 2025-01-01 UTC


@dataclass(frozen=True, slots=True)
class Session:
    """One search; rows index the catalogue. `clicked` None: abandoned; `previous` -1: the first."""

    user: int
    ordinal: int
    time: int
    phase: int
    previous: int
    intent: Intent
    query: str
    shown: tuple[int, ...]
    clicked: int | None
    ordered: bool


@dataclass(frozen=True, slots=True)
class _Plan:
    """When each user searches: [num_users, most sessions of a user]; time -1 = no session."""

    count: Ints
    time: Ints
    phase: Ints


class SessionSimulator:
    """Draws the sessions of all users in step, so that nobody clicks one item twice."""

    def __init__(
        self, catalogue: Catalogue, shoppers: Shoppers, rng: np.random.Generator, random: Random
    ) -> None:
        self._catalogue = catalogue
        self._shoppers = shoppers
        self._rng = rng
        self._random = random
        self._phrases = Phrases(catalogue.lexicon, random)
        self._noise = GumbelNoise(rng)
        self._department_of = np.array([c.department for c in catalogue.lexicon.categories])

    def run(self, sessions_per_user: float, num_days: int) -> list[Session]:
        """All sessions, ordered by user and time."""
        plan = self._plan(sessions_per_user, num_days)
        clicked = np.full(plan.time.shape, -1, dtype=np.int64)
        previous = np.full(len(plan.count), -1, dtype=np.int64)
        sessions: list[Session] = []
        for ordinal in range(plan.time.shape[1]):
            users = np.flatnonzero(plan.count > ordinal)
            category = self._categories(users, previous[users])
            for department in range(self._catalogue.lexicon.num_departments):
                here = self._department_of[category] == department
                batch = self._department_sessions(
                    plan, ordinal, users[here], category[here], previous[users[here]], clicked
                )
                sessions.extend(batch)
                for session in batch:
                    if session.clicked is not None:
                        clicked[session.user, ordinal] = session.clicked
            previous[users] = category
        return sorted(sessions, key=lambda session: (session.user, session.ordinal))

    def _plan(self, sessions_per_user: float, num_days: int) -> _Plan:
        num_users = len(self._shoppers.language)
        busy = self._rng.gamma(4.0, sessions_per_user / 4.0 / (1.0 - FEW_SESSIONS_SHARE), num_users)
        few = self._rng.random(num_users) < FEW_SESSIONS_SHARE
        most = num_days * DAY // SESSION_SPACING // 4
        count = np.where(few, self._rng.integers(1, 4, num_users), np.round(busy).astype(np.int64))
        count = np.clip(count, 1, most)
        width = int(count.max())
        absent = np.arange(width) >= count[:, None]
        span = num_days * DAY - count[:, None] * SESSION_SPACING
        offset = np.floor(self._rng.random((num_users, width)) * span).astype(np.int64)
        offset[absent] = num_days * DAY
        offset.sort(axis=1)
        since_start = offset + np.arange(width) * SESSION_SPACING
        phase = (since_start >= self._shoppers.drift_day[:, None] * DAY).astype(np.int64)
        return _Plan(count, np.where(absent, -1, START + since_start), phase)

    def _categories(self, users: Ints, previous: Ints) -> Ints:
        reach = np.cumsum(self._shoppers.category_probabilities(users, previous), axis=1)
        draws = self._rng.random(len(users)) * reach[:, -1]
        return np.asarray((reach < draws[:, None]).sum(axis=1))

    def _department_sessions(
        self,
        plan: _Plan,
        ordinal: int,
        users: Ints,
        category: Ints,
        previous: Ints,
        clicked: Ints,
    ) -> list[Session]:
        """Sessions of one step whose category is in one department; its items are the choices."""
        if len(users) == 0:
            return []
        catalogue = self._catalogue
        rows = np.flatnonzero(catalogue.department == self._department_of[category[0]])
        features = catalogue.features[rows]
        phase = plan.phase[users, ordinal]
        taste = self._shoppers.tastes[phase, users] @ features.T
        taken = self._taken(clicked[users, :ordinal], rows)
        in_mind = IN_CATEGORY * features[:, category].T + taste
        seeds = rows[self._choose(in_mind, taken)]
        chinese = self._query_languages(users)
        intents, queries = self._ask(seeds, chinese)
        utilities = taste + intent_weights(catalogue.layout, intents) @ features.T
        subtract_penalties(utilities, intents, catalogue.price[rows], catalogue.series[rows])
        targets = rows[self._choose(utilities, taken)]
        shown = rows[self._expose(utilities)]
        abandoned = self._rng.random(len(users)) < ABANDONED_SHARE
        ordered = self._orders(targets)
        return [
            Session(
                user=int(user),
                ordinal=ordinal,
                time=int(plan.time[user, ordinal]),
                phase=int(phase[i]),
                previous=int(previous[i]),
                intent=intents[i],
                query=queries[i],
                shown=self._shown(shown[i], None if abandoned[i] else int(targets[i])),
                clicked=None if abandoned[i] else int(targets[i]),
                ordered=bool(ordered[i] and not abandoned[i]),
            )
            for i, user in enumerate(users)
        ]

    def _taken(self, clicked: Ints, rows: Ints) -> npt.NDArray[np.bool_]:
        """bool [users, rows]: what a user clicked before and does not choose again."""
        taken = np.zeros((len(clicked), len(rows)), dtype=bool)
        user, ordinal = np.nonzero(clicked >= 0)
        item = clicked[user, ordinal]
        place = np.minimum(np.searchsorted(rows, item), len(rows) - 1)
        here = rows[place] == item
        taken[user[here], place[here]] = True
        return taken

    def _choose(self, utilities: Floats, taken: npt.NDArray[np.bool_]) -> Ints:
        noisy = utilities + self._noise.draw(utilities.shape)
        noisy[taken] = -np.inf
        return np.asarray(noisy.argmax(axis=1))

    def _expose(self, utilities: Floats) -> Ints:
        """int [users, MAX_SHOWN - 1]: what a noisy search engine shows beside the click."""
        guessed = 0.5 * utilities + self._noise.draw(utilities.shape)
        count = min(MAX_SHOWN - 1, utilities.shape[1])
        return np.argpartition(-guessed, count - 1, axis=1)[:, :count]

    def _shown(self, others: Ints, clicked: int | None) -> tuple[int, ...]:
        number = self._random.randint(2, MAX_SHOWN)
        page = [int(row) for row in others[: number - 1] if row != clicked]
        if clicked is not None:
            page.insert(self._random.randint(0, len(page)), clicked)
        return tuple(page)

    def _query_languages(self, users: Ints) -> npt.NDArray[np.bool_]:
        own = self._rng.random(len(users)) < OWN_LANGUAGE_SHARE
        return np.asarray((self._shoppers.language[users] == LANGUAGES.index("zh")) == own)

    def _orders(self, rows: Ints) -> npt.NDArray[np.bool_]:
        """An order follows a click more often for good items, less often for dear ones."""
        relative = self._catalogue.features[rows, self._catalogue.layout.price]
        logit = -1.3 + 0.6 * self._catalogue.quality[rows] - 0.8 * relative
        return np.asarray(self._rng.random(len(rows)) < 1.0 / (1.0 + np.exp(-logit)))

    def _ask(self, seeds: Ints, chinese: npt.NDArray[np.bool_]) -> tuple[list[Intent], list[str]]:
        kinds = self._rng.choice(len(KINDS), size=len(seeds), p=list(KINDS.values()))
        intents: list[Intent] = []
        queries: list[str] = []
        for seed, kind, zh in zip(seeds, kinds, chinese, strict=True):
            language = LANGUAGES[int(zh)]
            intent, question_forms = self._intent(int(seed), list(KINDS)[kind], language)
            series = int(self._catalogue.series[seed])
            intents.append(intent)
            queries.append(
                self._phrases.query(
                    intent,
                    language,
                    question_forms=question_forms,
                    brand=int(self._catalogue.brand[seed]),
                    series=self._catalogue.word_of_series(series),
                )
            )
        return intents, queries

    def _intent(self, seed: int, kind: str, language: str) -> tuple[Intent, Sequence[str] | None]:
        """The intent of someone with the item `seed` in mind; for a question also its words."""
        category = int(self._catalogue.category[seed])
        series = int(self._catalogue.series[seed])
        price = float(self._catalogue.price[seed])
        values = [int(value) for value in np.flatnonzero(self._catalogue.has_value[seed])]
        if kind == "head":
            return Intent("head", (category,)), None
        if kind == "question":
            question = self._random.choice(self._catalogue.lexicon.categories[category].questions)
            intent = Intent("question", question.categories, question.values)
            return intent, question.forms[language]
        if kind == "substitution" and series >= 0:
            profile = self._series_values(series, category)
            limit = max(price - 1.0, 1.0)
            return Intent(kind, (category,), profile, (), None, series, limit), None
        if kind == "brand_constraint":
            some = self._some(values, self._random.randint(0, 1))
            brand = int(self._catalogue.brand[seed])
            return Intent(kind, (category,), some, (), brand, None, _round_up(price)), None
        if kind == "negation":
            some = self._some(values, self._random.randint(0, 1))
            return Intent(kind, (category,), some, (self._unwanted(category, values),)), None
        if kind == "tail":
            some = self._some(values, self._random.randint(2, 3))
            return Intent("tail", (category,), some), None
        return Intent("attribute", (category,), self._some(values, 1)), None

    def _some(self, values: Sequence[int], count: int) -> tuple[int, ...]:
        return tuple(self._random.sample(values, min(count, len(values))))

    def _unwanted(self, category: int, values: Sequence[int]) -> int:
        """A common value of a visible kind that the item in mind does not have."""
        offered = self._catalogue.lexicon.categories[category].values
        kinds = [kind for kind in NEGATED_KINDS if kind in offered]
        others = [v for kind in kinds for v in offered[kind][:5] if v not in values]
        return self._random.choice(others)

    def _series_values(self, series: int, category: int) -> tuple[int, ...]:
        """What all items of a series in a category have in common."""
        members = (self._catalogue.series == series) & (self._catalogue.category == category)
        common = self._catalogue.has_value[members].all(axis=0)
        return tuple(int(value) for value in np.flatnonzero(common))


def write_interactions(
    sessions: Sequence[Session], shoppers: Shoppers, random: Random
) -> tuple[Interaction, ...]:
    """The log that the world sees, user by user, oldest first."""
    log: list[Interaction] = []
    for session in sessions:
        log.extend(_rows(session, shoppers.user_id(session.user), random))
    return tuple(log)


def _rows(session: Session, user_id: str, random: Random) -> list[Interaction]:
    clock = session.time
    events = [(clock + 2 * place, row, "show") for place, row in enumerate(session.shown)]
    if session.clicked is not None:
        clock += 2 * len(session.shown) + random.randint(3, 90)
        events.append((clock, session.clicked, "click"))
    if session.ordered and session.clicked is not None:
        events.append((clock + random.randint(30, 900), session.clicked, "order"))
    return [
        Interaction(
            user_id=user_id,
            time=time,
            item_id=f"p{row:05d}",
            event=event,
            query=session.query,
            session_id=f"s{session.user:05d}-{session.ordinal}",
            query_kind=session.intent.kind,
        )
        for time, row, event in events
    ]


def _round_up(price: float) -> float:
    """The next round number that leaves some room above a price: 43 -> 50, 512 -> 600."""
    step = 10.0 ** max(1, math.floor(math.log10(price)))
    return math.ceil(price * 1.02 / step) * step
