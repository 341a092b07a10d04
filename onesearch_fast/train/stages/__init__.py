"""The training stages. Each module beside this one binds `STAGE` and is found by itself."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from onesearch_fast.data.cot import SEPARATOR, Thoughts
from onesearch_fast.data.long_history import LongHistories
from onesearch_fast.data.prompts import PromptEncoder, Row, Turn
from onesearch_fast.data.split import TrainLog, UserHistory
from onesearch_fast.data.user_ids import UserId, UserIds
from onesearch_fast.errors import invalid
from onesearch_fast.train.cases import PreferenceCase, preference_cases

# Tasks that a log of clicks without a single query can teach.
WITHOUT_QUERIES = frozenset(
    {"next_item", "title_to_sid", "sid_to_title", "title_to_category", "sid_to_category"}
)


@dataclass(frozen=True, eq=False)
class StageInputs:
    """All that a stage may look at.

    Attributes:
        item_codes: int32 [num_items, num_levels].
        query_codes: distinct query text of the log -> int32 [num_levels].
        thoughts: keywords of the log's queries and turns, where the run makes any.
        keyword_codes: keyword -> int32 [num_levels].
        user_ids: who a user is before each event, where prompts say it.
        histories: what tokens of prompts stand for, where there are any.
        seed: of the run, for stages that draw their rows.
    """

    log: TrainLog
    item_codes: npt.NDArray[np.int32]
    query_codes: Mapping[str, npt.NDArray[np.int32]]
    prompts: PromptEncoder
    thoughts: Thoughts | None = None
    keyword_codes: Mapping[str, npt.NDArray[np.int32]] = field(default_factory=dict)
    user_ids: UserIds | None = None
    histories: LongHistories | None = None
    seed: int = 0

    @cached_property
    def preference_cases(self) -> list[PreferenceCase]:
        """What preference stages learn from, made when it is first asked for."""
        return preference_cases(self)

    def turns(self, history: UserHistory) -> list[Turn]:
        """The events of one user as prompts show them."""
        return [
            Turn(
                self.item_codes[event.row],
                event.query,
                None if event.query is None else self.query_codes[event.query],
                user_id=user_id,
                long_history=self.tokens_before(history, at),
            )
            for at, (event, user_id) in enumerate(
                zip(history.events, self.ids_before(history), strict=True)
            )
        ]

    def tokens_before(self, history: UserHistory, num_events: int) -> list[int] | None:
        """What stands for the first events of a user of the log, where prompts say it."""
        if self.histories is None:
            return None
        return self.histories.tokens(history.user_id, num_events)

    def ids_before(self, history: UserHistory, *query: str | None) -> list[UserId | None]:
        """The user's id before each event, and before a question, if one is given."""
        queries = [*(event.query for event in history.events), *query]
        if self.user_ids is None:
            return [None] * len(queries)
        return self.user_ids.before_each([event.row for event in history.events], queries)

    def id_before_all(self, history: UserHistory, query: str) -> UserId | None:
        """The user's id before the first event, when `query` is what is asked there."""
        if self.user_ids is None:
            return None
        events = history.events
        rows, queries = [event.row for event in events], [event.query for event in events]
        return self.user_ids.before_all(query, rows, queries)

    def taught_turns(self, history: UserHistory) -> list[Turn]:
        """As `turns`, with the keywords that a teacher reads of each query."""
        of_turn = self.needed_thoughts().of_turn
        keywords = (of_turn.get((history.user_id, at), ()) for at in range(len(history.events)))
        return [
            replace(turn, keywords=SEPARATOR.join(said) or None)
            for turn, said in zip(self.turns(history), keywords, strict=True)
        ]

    def needed_thoughts(self) -> Thoughts:
        """The keywords; ValueError where the run makes none."""
        if self.thoughts is None:
            remedy = "set PipelineConfig.thoughts"
            raise invalid("StageInputs", "thoughts", "keywords of the log", None, remedy)
        return self.thoughts


@dataclass(frozen=True)
class Stage:
    """One training stage: its tasks, each a function from the inputs to training rows.

    teachers: the same rows as a teacher reads them, for the tasks that can be taught.
    """

    name: str
    tasks: Mapping[str, Callable[[StageInputs], Iterable[Row]]]
    teachers: Mapping[str, Callable[[StageInputs], Iterable[Row]]] = field(default_factory=dict)


def discover_stages() -> dict[str, Stage]:
    """Every `STAGE` of the modules in this package, by name."""
    names = [module.name for module in pkgutil.iter_modules(__path__)]
    modules = [importlib.import_module(f"{__name__}.{name}") for name in names]
    return {module.STAGE.name: module.STAGE for module in modules}


def find_stage(name: str, tasks: Iterable[str]) -> Stage:
    """The stage called `name`; ValueError unless it exists and has all of `tasks`."""
    stages = discover_stages()
    if name not in stages:
        raise invalid("find_stage", "name", f"one of {sorted(stages)}", name)
    unknown = sorted(set(tasks) - set(stages[name].tasks))
    if unknown:
        raise invalid(f"stage {name!r}", "tasks", f"some of {sorted(stages[name].tasks)}", unknown)
    return stages[name]
