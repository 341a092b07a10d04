"""The keywords of a run: made once, kept in its folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from onesearch_fast.data.cot import MAX_KEYWORDS, Thoughts, ThoughtSource, think
from onesearch_fast.data.cot.language_model import LanguageModelThoughts, causal_lm
from onesearch_fast.data.cot.mined import MinedThoughts
from onesearch_fast.data.keyword_mining import mine_keywords
from onesearch_fast.data.split import TrainLog
from onesearch_fast.errors import FormatError, invalid
from onesearch_fast.files import read_json, write_json
from onesearch_fast.train.config import MINED, ThoughtConfig

_FILE = "thoughts.json"


def thought_model(config: ThoughtConfig | None) -> str | None:
    """The folder of the language model that is asked, if one is; ValueError if there is none."""
    if config is None or config.source == MINED:
        return None
    if not Path(config.source).is_dir():
        expected = f"{MINED!r}, or the folder of a causal LM"
        raise invalid("ThoughtConfig", "source", expected, config.source)
    return config.source


def make_thoughts(log: TrainLog, config: ThoughtConfig, answers: Path) -> Thoughts:
    """Keywords of every query and turn of the log.

    answers: where a language model's answers are kept, so that an interrupted run goes on.
    """
    mined = MinedThoughts(log, mine_keywords(log))
    if config.source == MINED:
        source: ThoughtSource = mined
    else:
        generate = causal_lm(config.source)
        source = LanguageModelThoughts(log, generate, answers, config.language)
    thoughts = think(log, source)
    return _with_targets(log, thoughts, mined) if config.inject_target else thoughts


def save_thoughts(thoughts: Thoughts, folder: Path) -> None:
    turns = [[user, place, list(said)] for (user, place), said in thoughts.of_turn.items()]
    queries = {query: list(said) for query, said in thoughts.of_query.items()}
    write_json(folder / _FILE, {"of_query": queries, "of_turn": turns})


def load_thoughts(folder: Path) -> Thoughts:
    """Reads what `save_thoughts` wrote; FormatError when it is not that."""
    value: Any = read_json(folder / _FILE)
    try:
        of_query = {str(query): tuple(said) for query, said in value["of_query"].items()}
        of_turn = {(str(user), int(at)): tuple(said) for user, at, said in value["of_turn"]}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FormatError(f"{folder / _FILE}: not the keywords of a log: {error!r}") from error
    return Thoughts(of_query, of_turn)


def _with_targets(log: TrainLog, thoughts: Thoughts, mined: MinedThoughts) -> Thoughts:
    """The target's own keywords before the others: they leak it, to the teacher alone."""
    of_turn = {}
    for history in log.histories:
        for place, event in enumerate(history.events):
            said = thoughts.of_turn.get((history.user_id, place))
            if said is not None:
                leaked = dict.fromkeys((*mined.of_item(event.row), *said))
                of_turn[history.user_id, place] = tuple(leaked)[:MAX_KEYWORDS]
    return replace(thoughts, of_turn=of_turn)
