"""Stage 1, semantic alignment: what codes mean in words, and words in codes."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

from onesearch_fast.data.cot import MAX_PERSONAL_KEYWORDS, SEPARATOR, session_begins
from onesearch_fast.data.prompts import Fields, Row
from onesearch_fast.data.records import Item
from onesearch_fast.train.stages import Stage, StageInputs

# The two coarse levels say what kind of thing it is; deeper levels are the codes' business.
_CATEGORY_LEVELS = 2
# What a keyword is calibrated by is the short history.
_RECENT_EVENTS = 5


def category_text(item: Item) -> str | None:
    """The two coarse levels of the category path, or None when the item has none."""
    return " > ".join(item.category[:_CATEGORY_LEVELS]) or None


def _query_fields(inputs: StageInputs) -> Iterator[Fields]:
    categories = _clicked_categories(inputs)
    for query, codes in sorted(inputs.query_codes.items()):
        yield {"query": query, "query_sid": codes, "category": categories.get(query)}


def _item_fields(inputs: StageInputs) -> Iterator[Fields]:
    for item, codes in zip(inputs.log.items, inputs.item_codes, strict=True):
        yield {
            "title": item.title or None,
            "item_sid": codes,
            "category": category_text(item),
        }


def _query_keyword_fields(inputs: StageInputs) -> Iterator[Fields]:
    for query, keywords in inputs.needed_thoughts().of_query.items():
        said: Fields = {"query": query, "query_sid": inputs.query_codes[query]}
        yield from _with_keywords(inputs, said, keywords)


def _user_keyword_fields(inputs: StageInputs) -> Iterator[Fields]:
    of_turn = inputs.needed_thoughts().of_turn
    for history in inputs.log.histories:
        begins = session_begins(history.events)
        for place, (event, begin) in enumerate(zip(history.events, begins, strict=True)):
            if event.query is None:
                continue
            recent = history.events[max(0, begin - _RECENT_EVENTS) : begin]
            said: Fields = {
                "profile": history.profile if inputs.prompts.config.profiles else None,
                "recent_sids": [inputs.item_codes[one.row] for one in recent] or None,
                "query": event.query,
                "query_sid": inputs.query_codes[event.query],
            }
            keywords = of_turn[history.user_id, place][:MAX_PERSONAL_KEYWORDS]
            yield from _with_keywords(inputs, said, keywords)


def _with_keywords(inputs: StageInputs, said: Fields, keywords: Sequence[str]) -> Iterator[Fields]:
    """All keywords as one text, and the code of each."""
    if keywords:
        yield {**said, "keywords": SEPARATOR.join(keywords)}
    for keyword in keywords:
        yield {**said, "keyword_sid": inputs.keyword_codes[keyword]}


def _clicked_categories(inputs: StageInputs) -> dict[str, str]:
    """Query -> the category clicked most often for it; ties to the smaller name."""
    clicks: dict[str, Counter[str]] = defaultdict(Counter)
    for history in inputs.log.histories:
        for event in history.events:
            category = category_text(inputs.log.items[event.row])
            if event.query is not None and category is not None:
                clicks[event.query][category] += 1
    return {
        query: min(counts, key=lambda name: (-counts[name], name))
        for query, counts in clicks.items()
    }


def _pairs(
    task: str, fields_of: Callable[[StageInputs], Iterable[Fields]], inputs: StageInputs
) -> Iterator[Row]:
    for fields in fields_of(inputs):
        if inputs.prompts.can_fill(task, fields):
            yield inputs.prompts.pair_row(task, fields)


STAGE = Stage(
    "alignment",
    {
        **{
            task: partial(_pairs, task, _query_fields)
            for task in ("query_to_sid", "sid_to_query", "query_to_category")
        },
        **{
            task: partial(_pairs, task, _item_fields)
            for task in ("title_to_sid", "sid_to_title", "title_to_category", "sid_to_category")
        },
        **{
            task: partial(_pairs, task, _query_keyword_fields)
            for task in ("query_to_keywords", "query_sid_to_keyword_sid")
        },
        **{
            task: partial(_pairs, task, _user_keyword_fields)
            for task in ("user_query_to_keywords", "user_query_sid_to_keyword_sid")
        },
    },
)
