"""Answers of a search as text for people and as JSON for machines."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onesearch_fast.engine.requests import (
        Hit,
        SearchAnswer,
        SearchRequest,
        SearchStats,
        UserContext,
    )
    from onesearch_fast.engine.search_diagnostics import WhyNotHit
    from onesearch_fast.engine.searcher import Searcher


def answer_json(
    searcher: Searcher, request: SearchRequest, answer: SearchAnswer, stats: bool
) -> dict[str, Any]:
    """`stats` adds seconds, as of `SearchStats`. ignored_history: ids that the items lack."""
    document = {
        "query": request.query,
        "complete": answer.complete,
        "dead": answer.dead,
        "ignored_history": ignored_history(searcher, request.user),
        "hits": [_hit_json(searcher, hit) for hit in answer.hits],
    }
    return document | {"stats": asdict(answer.stats)} if stats else document


def ignored_history(searcher: Searcher, user: UserContext | None) -> list[str]:
    """Ids of past items that the model's catalogue lacks: no prompt holds them."""
    item_ids = [] if user is None else [event.item_id for event in user.history]
    rows = searcher.items.rows(item_ids).tolist()
    return [item_id for item_id, row in zip(item_ids, rows, strict=True) if row < 0]


def _hit_json(searcher: Searcher, hit: Hit) -> dict[str, Any]:
    item = searcher.item(hit.item_id)
    return {
        "item_id": hit.item_id,
        "score": round(hit.score, 6),
        "sid": list(hit.sid),
        "title": item.title,
        "brand": item.brand,
        "category": list(item.category),
        "price": item.price,
        "in_stock": item.in_stock,
    }


def reason_json(request: SearchRequest, reason: WhyNotHit) -> dict[str, Any]:
    """As of `WhyNotHit`, and its sentences as "text"."""
    return {"query": request.query, "why_not": asdict(reason), "text": str(reason)}


def answer_text(
    searcher: Searcher, request: SearchRequest, answer: SearchAnswer, stats: bool
) -> str:
    """One line a hit, beneath the query."""
    lines = [request.query or "next item"]
    for place, hit in enumerate(answer.hits, start=1):
        item = searcher.item(hit.item_id)
        price = "" if item.price is None else f"{item.price:.2f}"
        notes = (item.brand, " > ".join(item.category), price, "" if item.in_stock else "sold out")
        about = ", ".join(note for note in notes if note)
        lines.append(f"{place:>4}  {hit.score:>8.3f}  {item.title}  [{hit.item_id}] {about}")
    if not answer.hits:
        lines.append("      nothing found")
    if answer.dead:
        lines.append("      the model's logits are not numbers: look at its weights and its dtype")
    if not answer.complete:
        levels = len(searcher.trie.level_sizes)
        lines.append(f"      cut short: {answer.levels_scored} of {levels} levels scored")
    if stats:
        lines.append(f"      {_times(answer.stats)}")
    return "\n".join(lines)


def _times(stats: SearchStats) -> str:
    generation = stats.generation
    parts = {
        "encoding": stats.encoding,
        "prefill": generation.prefill,
        "model": sum(generation.model),
        "selection": sum(generation.selection),
        "expansion": stats.expansion,
        "reranking": stats.reranking,
    }
    return ", ".join(f"{name} {1000 * seconds:.1f} ms" for name, seconds in parts.items())
