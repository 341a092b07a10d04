"""Words for concepts: titles as sellers write them, queries as buyers type them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from random import Random

from onesearch_fast.data.synthetic.concepts import Lexicon
from onesearch_fast.data.synthetic.utility import Intent

SELLER = (8, 4, 2, 1)  # weights of a concept's forms, first to last
BUYER = (1, 3, 3, 2)
IN_TITLE = 0.65  # share of an item's properties that its title tells
MARKETING_SHARE = 0.3


class Phrases:
    """Draws surface forms, with a generator of its own: wording never changes the choices."""

    def __init__(self, lexicon: Lexicon, random: Random) -> None:
        self._lexicon = lexicon
        self._random = random

    def chance(self, probability: float) -> bool:
        return self._random.random() < probability

    def pick(self, forms: Sequence[str], weights: Sequence[int]) -> str:
        """One of `forms`, by `weights` cut to their number."""
        return self._random.choices(forms, weights[: len(forms)])[0]

    def value(self, value: int, language: str, weights: Sequence[int] = SELLER) -> str:
        return self.pick(self._lexicon.values[value].forms[language], weights)

    def title(
        self,
        language: str,
        category: int,
        brand: int,
        series: int | None,
        values: Iterable[int],
        model: str,
    ) -> str:
        """A seller's title in "en", "zh" or "mixed" (Chinese around English nouns)."""
        told = [value for value in values if self.chance(IN_TITLE)]
        category_forms = self._lexicon.categories[category].forms
        names = [self._lexicon.brands[brand]]
        if series is not None:
            names.append(self._lexicon.series[series])
        if language == "en":
            before, after = self._around(told, "en", SELLER)
            noun = self.pick(category_forms["en"], SELLER)
            parts = [*(name["en"][0] for name in names), *before, noun, *after, model]
            return " ".join([*parts, *self._marketing("en", "{}")])
        before, after = self._around(told, "zh", SELLER)
        label = "".join(name["zh"][0] for name in names)
        noun = self.pick(category_forms["zh"], SELLER)
        if language == "mixed":
            label = f"{names[0]['en'][0]} {label} {self.pick(category_forms['en'], SELLER)}"
        return "".join(
            [*self._marketing("zh", "【{}】"), label, " ", *before, *after, noun, " ", model]
        )

    def query(
        self,
        intent: Intent,
        language: str,
        *,
        question_forms: Sequence[str] | None,
        brand: int,
        series: int | None,
    ) -> str:
        """A buyer's query. `brand` and `series` name the reference that the intent talks about."""
        if question_forms is not None:
            return self.pick(question_forms, (1, 1))
        templates = self._lexicon.queries[language]
        template = self._random.choice(templates.get(intent.kind, templates["plain"]))
        before, after = self._around(intent.wanted, language, BUYER)
        space = " " if language == "en" else ""
        told = template.format(
            category=self.pick(
                self._lexicon.categories[intent.categories[0]].forms[language], BUYER
            ),
            before=space.join(before),
            after=space.join(after),
            negated=space.join(self.value(value, language, BUYER) for value in intent.negated),
            brand=self._lexicon.brands[brand][language][0],
            series="" if series is None else self._lexicon.series[series][language][0],
            price=f"{intent.max_price:.0f}",
        )
        return " ".join(told.split())

    def _around(
        self, values: Iterable[int], language: str, weights: Sequence[int]
    ) -> tuple[list[str], list[str]]:
        sides: dict[str, list[str]] = {"before": [], "after": []}
        for value in values:
            place = self._lexicon.values[value].place
            sides[place].append(self.value(value, language, weights))
        return sides["before"], sides["after"]

    def _marketing(self, language: str, form: str) -> list[str]:
        if not self.chance(MARKETING_SHARE):
            return []
        return [form.format(self._random.choice(self._lexicon.marketing[language]))]
