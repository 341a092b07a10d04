"""Prompts: templates are data; the encoder turns them into token ids with a mask of what is learnt.

A personalised sequence is `head turn target turn target ... turn`: one sequence teaches every turn
of a user, and the prompt that is served is the same sequence cut before its last target.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy.typing as npt

from onesearch_fast.data.long_history import LongHistoryConfig
from onesearch_fast.data.tokenizer import SidTokenizer
from onesearch_fast.errors import FormatError, invalid
from onesearch_fast.files import read_json, write_json

TEMPLATE_FOLDER = Path(__file__).parent / "prompt_templates"
TEXT_FIELDS = frozenset({"query", "title", "category", "profile", "keywords"})
SID_FIELDS = frozenset({"query_sid", "item_sid", "keyword_sid"})
SIDS_FIELDS = frozenset({"recent_sids", "user_id"})
TOKEN_FIELDS = frozenset({"long_history"})
ALL_FIELDS = TEXT_FIELDS | SID_FIELDS | SIDS_FIELDS | TOKEN_FIELDS
# What is said of a user where there is something to say.
OPTIONAL_FIELDS = frozenset({"profile", "recent_sids", "user_id"})
_PIECE = re.compile(r"(<[a-z_]+>|\{[a-z_]+\})")

Codes = npt.ArrayLike  # integers [num_levels], local to their levels
Fields = Mapping[str, Any]  # a text, codes, a list of codes or None by field name


@dataclass(frozen=True)
class PromptConfig:
    """How prompts are rendered; training and serving share it.

    Attributes:
        template: a name in `prompt_templates/` ("compact", "english", "chinese"), or a JSON file.
        max_history_events: past events in one prompt; older ones are left out.
        max_query_tokens: a query keeps its first so many tokens.
        max_text_tokens: titles, categories and profiles keep their first so many tokens.
        max_keyword_tokens: a list of keywords keeps its first so many tokens.
        query_sids: write each query's own semantic ID behind it.
        profiles: write the user's profile.
        user_ids: write who the user is by behaviour, before every event; see `data.user_ids`.
        long_history: vectors of the events before those that are shown; None for none.
    """

    template: str = "compact"
    max_history_events: int = 20
    max_query_tokens: int = 24
    max_text_tokens: int = 32
    max_keyword_tokens: int = 64
    query_sids: bool = True
    profiles: bool = True
    user_ids: bool = False
    long_history: LongHistoryConfig | None = None

    def __post_init__(self) -> None:
        for name in (one.name for one in fields(self) if one.name.startswith("max_")):
            least = 0 if name == "max_history_events" else 1
            if getattr(self, name) < least:
                raise invalid("PromptConfig", name, f"at least {least}", getattr(self, name))


@dataclass(frozen=True)
class Turn:
    """One event of a user as a prompt shows it; an event without a query has no query codes.

    keywords: what the teacher of a self-distillation reads of the query, and nobody else.
    user_id: SIDs of who the user was before the event.
    long_history: tokens that stand for all events before it; see `data.long_history`.
    """

    item_codes: Codes
    query: str | None = None
    query_codes: Codes | None = None
    keywords: str | None = None
    user_id: Sequence[Codes] | None = None
    long_history: Sequence[int] | None = None


@dataclass(frozen=True)
class Row:
    """One training sequence; `learnt[i]`: token i is to be predicted from those before it."""

    ids: list[int] = field(default_factory=list)
    learnt: list[bool] = field(default_factory=list)

    def add(self, ids: Sequence[int], learnt: bool) -> None:
        self.ids.extend(ids)
        self.learnt.extend([learnt] * len(ids))


@dataclass(frozen=True)
class Templates:
    """The wording of every task.

    A segment is a text with `<marker>` tokens and `{field}` places; it is left out of a prompt when
    one of its fields has no value. Every task begins with its own tag, so no two share a form.

    Attributes:
        markers: names of the marker tokens in use.
        personalised: task -> {"head": segments, "turn": segments}; the target is an item's SID.
        pairs: task -> {"input": segments, "target": "{field}"}.
    """

    markers: tuple[str, ...]
    personalised: Mapping[str, Mapping[str, Sequence[str]]]
    pairs: Mapping[str, Mapping[str, Any]]

    @staticmethod
    def names() -> list[str]:
        """The templates that come with the package."""
        return sorted(file.stem for file in TEMPLATE_FOLDER.glob("*.json"))

    @classmethod
    def load(cls, name_or_path: str | os.PathLike[str]) -> Templates:
        """Reads a template by name, or from a JSON file; raises FormatError when it is unsound."""
        path = TEMPLATE_FOLDER / f"{name_or_path}.json"
        if not path.is_file():
            path = Path(name_or_path)
        if not path.is_file():
            expected = f"one of {cls.names()} or a file"
            raise invalid("Templates.load", "name_or_path", expected, str(path))
        return cls.from_json(read_json(path), str(path))

    @classmethod
    def from_json(cls, value: Any, source: str = "templates") -> Templates:
        """Builds the templates from parsed JSON, and checks markers, fields and first segments."""
        try:
            templates = cls(tuple(value["markers"]), value["personalised"], value["pairs"])
            segments = list(templates._segments())
            openings = [json.dumps(opening) for opening in templates._openings()]
        except (KeyError, TypeError, IndexError, AttributeError) as error:
            raise FormatError(f"{source}: not a prompt template: {error!r}") from error
        absent = sorted({"search", "next_item"} - templates.personalised.keys())
        if absent:
            raise FormatError(f"{source}: no personalised task {absent[0]!r}; it is served")
        for piece in (piece for segment in segments for piece in _pieces(segment)):
            if piece[0] == "<" and piece not in templates.markers:
                raise FormatError(f"{source}: {piece} is not among the markers")
            if piece[0] == "{" and piece[1:-1] not in ALL_FIELDS:
                raise FormatError(f"{source}: {piece} is not a field")
        if len(set(openings)) < len(openings):
            raise FormatError(f"{source}: two tasks begin alike; give each task its own tag")
        return templates

    def to_json(self) -> dict[str, Any]:
        return {
            "markers": list(self.markers),
            "personalised": self.personalised,
            "pairs": self.pairs,
        }

    def check_long_history(self) -> None:
        """Raises ValueError where a personalised task has no place for a long history."""
        for task, segments in self.personalised.items():
            if not any("{long_history}" in segment for segment in segments["head"]):
                expected = f"{{long_history}} in the head of {task!r}"
                raise invalid("PromptEncoder", "templates", expected, list(segments["head"]))

    def _segments(self) -> Iterator[str]:
        for task in self.personalised.values():
            yield from (*task["head"], *task["turn"])
        for pair in self.pairs.values():
            yield from (*pair["input"], pair["target"])

    def _openings(self) -> Iterator[str]:
        for task in self.personalised.values():
            yield _pieces(task["head"][0])[0]
        for pair in self.pairs.values():
            yield _pieces(pair["input"][0])[0]


class PromptEncoder:
    """Renders prompts and training rows of one tokenizer, one set of templates, one config."""

    def __init__(
        self, tokenizer: SidTokenizer, templates: Templates, config: PromptConfig | None = None
    ) -> None:
        self.tokenizer = tokenizer
        self.templates = templates
        self.config = config or PromptConfig()
        if self.config.long_history is not None:
            templates.check_long_history()

    def search_prompt(
        self,
        profile: str | None,
        history: Sequence[Turn],
        query: str,
        query_codes: Codes | None,
        user_id: Sequence[Codes] | None = None,
        long_history: Sequence[int] | None = None,
    ) -> list[int]:
        """Token ids after which the model generates the SID of an item for `query`.

        history: the user's past events, oldest first; the last `max_history_events` are shown.
        query_codes: the query's own SID; needed when `config.query_sids`.
        user_id: SIDs of who the user is now; shown when `config.user_ids`.
        long_history: tokens that stand for the whole past; read where none of it is shown, as what
            is shown has its own.
        """
        asked = Turn((), query, query_codes, user_id=user_id, long_history=long_history)
        return self._prompt("search", profile, history, asked)

    def next_item_prompt(
        self,
        profile: str | None,
        history: Sequence[Turn],
        user_id: Sequence[Codes] | None = None,
        long_history: Sequence[int] | None = None,
    ) -> list[int]:
        """Token ids after which the model generates the SID of the user's next item."""
        asked = Turn((), user_id=user_id, long_history=long_history)
        return self._prompt("next_item", profile, history, asked)

    def training_rows(self, task: str, profile: str | None, turns: Sequence[Turn]) -> list[Row]:
        """One user's events as training sequences; the SID of every turn is learnt exactly once.

        A log longer than `max_history_events + 1` turns is cut into windows that overlap by half,
        and a turn is learnt in the first window that shows it. In "search", events without a query
        are shown and not learnt. Every learnt turn stands behind the prompt that would be served.
        """
        rows = []
        for begin, first_learnt, end in windows(len(turns), self.config.max_history_events):
            row = Row()
            row.add(self._head(task, profile, turns[begin]), False)
            for position in range(begin, end):
                turn = turns[position]
                row.add(self._turn(task, turn), False)
                asked = task != "search" or turn.query is not None
                row.add(self._sid(turn.item_codes), position >= first_learnt and asked)
            if any(row.learnt):
                rows.append(row)
        return rows

    def can_fill(self, task: str, fields: Fields) -> bool:
        """Whether `fields` has a value for everything that the task's input and target need."""
        pair = self._pair(task)
        pieces = [
            piece for segment in (*pair["input"], pair["target"]) for piece in _pieces(segment)
        ]
        shown = {piece[1:-1] for piece in pieces if piece[0] == "{"}
        return all(fields.get(name) is not None for name in shown - OPTIONAL_FIELDS)

    def pair_row(self, task: str, fields: Fields) -> Row:
        """One input with its target as a training sequence; a text target ends with <eos>."""
        pair = self._pair(task)
        row = Row()
        row.add(self._render(pair["input"], fields), False)
        target = self._render([pair["target"]], fields)
        is_text = pair["target"][1:-1] in TEXT_FIELDS
        row.add([*target, self.tokenizer.eos_id] if is_text else target, True)
        return row

    def warm(self, texts: Iterable[str]) -> None:
        """Encodes texts in one batch ahead of rendering, which is faster than one by one."""
        self.tokenizer.encode_texts(list(texts))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes templates and config as JSON: `prompts.json` of a served model."""
        write_json(path, {"config": asdict(self.config), "templates": self.templates.to_json()})

    @classmethod
    def load(cls, path: str | os.PathLike[str], tokenizer: SidTokenizer) -> PromptEncoder:
        """Opens what `save` wrote; raises FormatError when it is not that."""
        value = read_json(path)
        try:
            config = _prompt_config(value["config"])
            templates = value["templates"]
        except (KeyError, TypeError) as error:
            raise FormatError(f"{path}: not a prompt file: {error!r}") from error
        return cls(tokenizer, Templates.from_json(templates, str(path)), config)

    def _prompt(
        self,
        task: str,
        profile: str | None,
        history: Sequence[Turn],
        asked: Turn,
    ) -> list[int]:
        shown = history[max(0, len(history) - self.config.max_history_events) :]
        ids = self._head(task, profile, next(iter(shown), asked))
        for turn in shown:
            ids += self._turn(task, replace(turn, keywords=None))
            ids += self._sid(turn.item_codes)
        return ids + self._turn(task, asked)

    def _pair(self, task: str) -> Mapping[str, Any]:
        pairs = self.templates.pairs
        if task not in pairs:
            remedy = f"add it to the template {self.config.template!r}, or leave the task out"
            raise invalid("PromptEncoder", "task", f"one of {sorted(pairs)}", task, remedy)
        return pairs[task]

    def _head(self, task: str, profile: str | None, first: Turn) -> list[int]:
        """What stands before the first turn."""
        # A profile that says nothing is none, in training as in a search.
        shown = profile if self.config.profiles and profile and profile.strip() else None
        past = None if self.config.long_history is None else first.long_history
        fields: Fields = {"profile": shown, "long_history": past}
        return self._render(self.templates.personalised[task]["head"], fields)

    def _turn(self, task: str, turn: Turn) -> list[int]:
        """A turn but its target."""
        query_codes = turn.query_codes
        if not self.config.query_sids or turn.query is None:
            query_codes = None
        elif query_codes is None:
            raise invalid("PromptEncoder", "query_codes", "the query's SID", None, "encode it")
        fields: Fields = {
            "query": turn.query,
            "query_sid": query_codes,
            "keywords": turn.keywords,
            "user_id": turn.user_id if self.config.user_ids else None,
        }
        return self._render(self.templates.personalised[task]["turn"], fields)

    def _sid(self, codes: Codes) -> list[int]:
        ids: list[int] = self.tokenizer.code_ids(codes).tolist()
        return ids

    def _render(self, segments: Sequence[str], fields: Fields) -> list[int]:
        ids: list[int] = []
        for segment in segments:
            pieces = _pieces(segment)
            names = [piece[1:-1] for piece in pieces if piece[0] == "{"]
            if all(fields.get(name) is not None for name in names):
                for piece in pieces:
                    ids += self._piece(piece, fields)
        return ids

    def _piece(self, piece: str, fields: Fields) -> list[int]:
        if piece[0] == "<":
            return [self.tokenizer.marker_id(piece)]
        if piece[0] != "{":
            return self.tokenizer.encode_text(piece)
        name = piece[1:-1]
        value = fields[name]
        if name in SID_FIELDS:
            return self._sid(value)
        if name in SIDS_FIELDS:
            return [token for codes in value for token in self._sid(codes)]
        if name in TOKEN_FIELDS:
            return list(value)
        return self.tokenizer.encode_text(value)[: self._limit(name)]

    def _limit(self, name: str) -> int:
        special = {
            "query": self.config.max_query_tokens,
            "keywords": self.config.max_keyword_tokens,
        }
        return special.get(name, self.config.max_text_tokens)


def _prompt_config(value: Mapping[str, Any]) -> PromptConfig:
    """From what `asdict` makes; TypeError unless it is that."""
    config = PromptConfig(**value)
    if config.long_history is None:
        return config
    return replace(config, long_history=LongHistoryConfig(**value["long_history"]))


def windows(num_turns: int, max_history: int) -> Iterator[tuple[int, int, int]]:
    """(begin, first learnt turn, end) of each window of at most `max_history + 1` turns."""
    width, overlap = max_history + 1, (max_history + 1) // 2
    begin = learnt = 0
    while learnt < num_turns:
        end = min(begin + width, num_turns)
        yield begin, learnt, end
        begin, learnt = end - overlap, end


@lru_cache(maxsize=4096)
def _pieces(segment: str) -> tuple[str, ...]:
    return tuple(piece for piece in _PIECE.split(segment) if piece)
