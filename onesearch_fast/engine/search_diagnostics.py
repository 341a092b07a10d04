"""Why an item is not among the hits of a `Searcher`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from onesearch_fast.engine.diagnostics import WhyNot

HitReason = Literal["found", "unknown", "history", "out_of_stock", "crowded_out", "not_generated"]

_SENTENCES = {
    "unknown": "not in the catalogue",
    "history": "left out, since the user had it before",
    "out_of_stock": "left out, since it cannot be bought",
    "crowded_out": "its SID is found, but lists others of its items before it",
}


@dataclass(frozen=True)
class WhyNotHit:
    """What became of one item in one search; `str` says it in sentences.

    Attributes:
        item_id: the catalogue's id.
        reason: "found"; "unknown" to the catalogue, or to the version searched; in the user's
            "history"; "out_of_stock" in a searcher that drops such items; "crowded_out" by others
            of its SID, of which only `items_per_sid` are listed; "not_generated", for which see
            `generation`.
        place: among all hits before re-ranking, 0 for the best; None unless found.
        generation: what became of its SID; None where the search was not asked.
    """

    item_id: str
    reason: HitReason
    place: int | None = None
    generation: WhyNot | None = None

    def __str__(self) -> str:
        if self.reason == "found":
            verdict = f"found at place {self.place}"
        else:
            verdict = _SENTENCES.get(self.reason, "its SID is not found")
        lines = [f"{self.item_id}: {verdict}"]
        return "\n".join(lines if self.generation is None else [*lines, str(self.generation)])
