"""Baselines: one file each, found by itself; it binds its description to the name `BASELINE`."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol, cast

import numpy as np
import numpy.typing as npt

from onesearch_fast.data.split import SEARCH, EvalCase, TrainLog
from onesearch_fast.errors import invalid
from onesearch_fast.evaluate.categories import NUM_VOTES, CategoryTable, QueryCategories
from onesearch_fast.evaluate.cooccurrence import BrandMatch, ItemSimilarity
from onesearch_fast.evaluate.ranking import Ranker, TieOrder
from onesearch_fast.sid.text_encoder import TextEncoder

if TYPE_CHECKING:
    from onesearch_fast.evaluate.baselines.sasrec import SasRec

# Tuning looks at no more cases than this, drawn with a fixed seed; at fewer in a large catalogue,
# since every candidate scores every (case, item), but never at less than a tenth of it.
MAX_TUNING_CASES = 2000
_MAX_TUNING_CELLS = 1 << 26


@dataclass(frozen=True)
class Baseline:
    """A kind of ranker: the tasks it is for, and how it is made from a `TrainLog`.

    `fit` may choose parameters on `context.stop_cases`; it sees no other case. `needs` names what
    the context must have beside the log: "text_encoder" or "sasrec".
    """

    name: str
    tasks: tuple[str, ...]
    fit: Callable[[TrainLog, BaselineContext], Ranker]
    needs: str | None = None


class LexicalRanker(Protocol):
    """What the category of an unknown query is guessed from."""

    def first_hits(self, query: str, k: int) -> list[int]:
        """Rows of at most k items that share a token with the query, best first."""
        ...


class BaselineContext:
    """What the baselines of one task share: the stop group, the encoder, and each other.

    Args:
        log: the only source of everything fitted.
        task: "search" or "next_item".
        stop_cases: cases on which parameters are chosen; at most 2,000 of them are used.
        text_encoder: for the baselines that compare embeddings; None leaves them out.
        sasrec: trained on the log by `train_sasrec`; None leaves it out.
    """

    def __init__(
        self,
        log: TrainLog,
        task: str,
        stop_cases: Sequence[EvalCase],
        text_encoder: TextEncoder | None = None,
        sasrec: SasRec | None = None,
    ) -> None:
        strangers = [case.user_id for case in stop_cases if case.group != "stop"]
        if strangers:
            remedy = "parameters must not be chosen on reported cases"
            raise invalid("BaselineContext", "stop_cases", "the group 'stop'", strangers[0], remedy)
        self.log = log
        self.task = task
        affordable = max(_MAX_TUNING_CELLS // len(log.items), MAX_TUNING_CASES // 10)
        self.stop_cases = _sample(stop_cases, min(affordable, MAX_TUNING_CASES))
        self.text_encoder = text_encoder
        self.sasrec = sasrec
        self.ties = TieOrder([item.item_id for item in log.items])
        self._fitted: dict[str, Ranker] = {}

    def ranker(self, name: str) -> Ranker:
        """The baseline of this name, fitted once."""
        if name not in self._fitted:
            baseline = _by_name(name)
            if not self.has(baseline.needs):
                raise invalid("baselines", name, f"a context with {baseline.needs}", None)
            self._fitted[name] = baseline.fit(self.log, self)
        return self._fitted[name]

    def has(self, need: str | None) -> bool:
        return need is None or getattr(self, need) is not None

    @cached_property
    def popularity(self) -> npt.NDArray[np.float64]:
        return self.log.item_popularity()

    @cached_property
    def similarity(self) -> ItemSimilarity:
        return ItemSimilarity(self.log)

    @cached_property
    def brand_match(self) -> BrandMatch:
        return BrandMatch(self.log.items)

    @cached_property
    def categories(self) -> CategoryTable:
        return CategoryTable(self.log.items)

    @cached_property
    def query_categories(self) -> QueryCategories:
        def first_hits(queries: Sequence[str]) -> Sequence[Sequence[int]]:
            if not queries:
                return []
            lexical = cast(LexicalRanker, self.ranker("bm25"))
            return [lexical.first_hits(query, NUM_VOTES) for query in queries]

        return QueryCategories(self.log, self.categories, first_hits)

    def category_tiers(self, cases: Sequence[EvalCase]) -> npt.NDArray[np.uint8]:
        """uint8 [num_cases, num_items], see `CategoryTable.tiers`: of the query's category, or for
        "next_item" of the category of the last event."""
        if self.task == SEARCH:
            found = self.query_categories.resolve([case.query or "" for case in cases])
            paths = [found[case.query or ""] for case in cases]
        else:
            table = self.categories.paths
            paths = [table[c.history[-1].row] if c.history else None for c in cases]
        tiers = {path: self.categories.tiers(path) for path in set(paths)}
        return np.stack([tiers[path] for path in paths])


def discover_baselines() -> dict[str, Baseline]:
    """Every `BASELINE` of the modules of this package, by name."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    found = [importlib.import_module(f"{__name__}.{name}").BASELINE for name in names]
    return {baseline.name: baseline for baseline in found}


def fit_baselines(context: BaselineContext, names: Sequence[str] | None = None) -> list[Ranker]:
    """The baselines that apply to the context's task, fitted; None = all that can run."""
    known = discover_baselines()
    if names is None:
        names = [name for name, one in known.items() if _applies(one, context)]
    for name in names:
        if context.task not in _by_name(name).tasks:
            raise invalid("fit_baselines", "names", f"baselines for {context.task}", name)
    return [context.ranker(name) for name in names]


def _applies(baseline: Baseline, context: BaselineContext) -> bool:
    return context.task in baseline.tasks and context.has(baseline.needs)


def _by_name(name: str) -> Baseline:
    known = discover_baselines()
    if name not in known:
        raise invalid("baselines", "name", f"one of {sorted(known)}", name)
    return known[name]


def _sample(cases: Sequence[EvalCase], size: int) -> tuple[EvalCase, ...]:
    if len(cases) <= size:
        return tuple(cases)
    chosen = np.random.default_rng(0).permutation(len(cases))[:size]
    return tuple(cases[index] for index in sorted(chosen))
