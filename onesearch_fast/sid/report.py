"""What semantic IDs are worth: their quality, the fullest SIDs, what prefixes find."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from onesearch_fast.errors import invalid
from onesearch_fast.sid.codes import code_token_names
from onesearch_fast.sid.prefix_ranking import FloatArray, IntArray, PrefixRanking
from onesearch_fast.sid.quality import SidQuality, largest_buckets

BUCKETS_SHOWN = 5
_TITLES_SHOWN = 3
# Standard errors of recall stay under about 0.01; all items of a large catalogue would take hours.
MAX_ASKERS = 2_000


@dataclass(frozen=True)
class Bucket:
    """One of the fullest SIDs, as token names, and titles of some of its items."""

    sid: str
    num_items: int
    titles: tuple[str, ...]


@dataclass(frozen=True)
class PrefixRecall:
    """What items are found from an asker's SID, over (asker, wanted item) pairs.

    shared[l-1]: pairs whose two SIDs agree in the first l codes / pairs.
    candidates[l-1]: mean number of items that agree with the asker in the first l codes.
    recall: wanted items among the first `k` of the `PrefixRanking` / wanted items.
    mrr: mean over pairs of 1 / rank of the wanted item there, 0 past `k`.
    embedding_recall: recall of the k items nearest to the asker's vector, what no SID is left out
    of; 1 for neighbours, which are those.
    """

    num_askers: int
    k: int
    shared: tuple[float, ...]
    candidates: tuple[float, ...]
    recall: float
    mrr: float
    embedding_recall: float


@dataclass(frozen=True)
class SidReport:
    """`neighbours`: items ask for their nearest ones; `queries`: held-out queries for theirs."""

    quality: SidQuality
    largest: tuple[Bucket, ...]
    neighbours: PrefixRecall | None = None
    queries: PrefixRecall | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    def as_text(self) -> str:
        """Tables for a terminal."""
        lines = [self.quality.as_text()]
        if self.neighbours is not None:
            lines += _recall_lines("nearest items found from an item's SID", self.neighbours)
        if self.queries is not None:
            lines += _recall_lines(
                "items taken next found from a held-out query's SID", self.queries
            )
        lines.append("fullest SIDs")
        for bucket in self.largest:
            lines.append(f"  {bucket.num_items:5} items on {bucket.sid}")
            lines += [f"        {title[:90]}" for title in bucket.titles]
        return "\n".join(lines)


def describe_buckets(
    codes: npt.NDArray[np.int32],
    level_sizes: Sequence[int],
    num_residual_levels: int,
    titles: Sequence[str],
) -> tuple[Bucket, ...]:
    """The fullest SIDs of codes [num_items, num_levels]."""
    names = code_token_names(level_sizes, num_residual_levels)
    return tuple(
        Bucket(
            "".join(names[level][code] for level, code in enumerate(sid)),
            len(rows),
            tuple(titles[row] for row in rows[:_TITLES_SHOWN]),
        )
        for sid, rows in largest_buckets(codes, BUCKETS_SHOWN)
    )


def neighbour_recall(
    codes: npt.NDArray[np.int32], embeddings: FloatArray, k: int = 10, seed: int = 0
) -> PrefixRecall:
    """How well SIDs keep each item's k nearest items (largest inner product, itself left out).

    codes [num_items, num_levels], embeddings float32 [num_items, dim]; `MAX_ASKERS` items ask,
    drawn by `seed`. Needs faiss and more than k items. Cost: askers x num_items x dim.
    """
    if not 0 < k < len(codes):
        raise invalid("neighbour_recall", "k", f"an integer in [1, {len(codes) - 1}]", k)
    askers = draw_askers(len(codes), seed)
    ranking = PrefixRanking(codes, embeddings, seed)
    wanted = _without(askers, _nearest(embeddings[askers], embeddings, k + 1))
    found = _without(askers, ranking.top(embeddings[askers], codes[askers], k + 1))
    ranks = _ranks(wanted, found)
    return PrefixRecall(
        num_askers=len(askers),
        k=k,
        shared=_shared(codes[askers][:, None], codes[wanted]),
        candidates=_candidates(ranking, codes[askers]),
        recall=float((ranks > 0).mean()),
        mrr=_mrr(ranks),
        embedding_recall=1.0,
    )


def query_recall(
    codes: npt.NDArray[np.int32],
    embeddings: FloatArray,
    query_codes: npt.NDArray[np.int32],
    query_embeddings: FloatArray,
    wanted: IntArray,
    k: int = 10,
    seed: int = 0,
) -> PrefixRecall:
    """How well a query's SID leads to the item that was wanted; one pair a query.

    codes, embeddings: of the items; query_codes [n, num_levels], query_embeddings float32 [n, dim]
    by the same encoder and codebooks; wanted [n]: rows of items. Needs faiss. Cost: n x num_items x
    dim.
    """
    if len(wanted) == 0 or not len(query_codes) == len(query_embeddings) == len(wanted):
        lengths = (len(query_codes), len(query_embeddings), len(wanted))
        expected = "as many codes, vectors and wanted items, at least one"
        raise invalid("query_recall", "queries", expected, lengths)
    ranking = PrefixRanking(codes, embeddings, seed)
    ranks = query_ranks(ranking, query_codes, query_embeddings, wanted, k)
    nearest = _nearest(query_embeddings, embeddings, min(k, len(codes)))
    return PrefixRecall(
        num_askers=len(wanted),
        k=k,
        shared=_shared(query_codes, codes[wanted]),
        candidates=_candidates(ranking, query_codes),
        recall=float((ranks > 0).mean()),
        mrr=_mrr(ranks),
        embedding_recall=float((nearest == wanted[:, None]).any(axis=1).mean()),
    )


def query_ranks(
    ranking: PrefixRanking,
    query_codes: npt.NDArray[np.int32],
    query_embeddings: FloatArray,
    wanted: IntArray,
    k: int,
) -> IntArray:
    """Rank from 1 of each query's wanted item among its first k items, 0 past them; int64 [n]."""
    return _ranks(wanted[:, None], ranking.top(query_embeddings, query_codes, k))[:, 0]


def draw_askers(num: int, seed: int) -> IntArray:
    """At most `MAX_ASKERS` of `num` rows, ascending."""
    drawn: IntArray = np.random.default_rng(seed).permutation(num)[:MAX_ASKERS]
    drawn.sort()
    return drawn


def _nearest(queries: FloatArray, items: FloatArray, k: int) -> IntArray:
    import faiss

    found: IntArray = faiss.knn(queries, items, k, metric=faiss.METRIC_INNER_PRODUCT)[1]
    return found


def _without(askers: IntArray, found: IntArray) -> IntArray:
    """found [n, k + 1] less the asker itself, or its last where it is not there: [n, k]."""
    itself = found == askers[:, None]
    itself[~itself.any(axis=1), -1] = True
    others: IntArray = found[~itself].reshape(len(found), -1)
    return others


def _ranks(wanted: IntArray, found: IntArray) -> IntArray:
    """wanted [n, m], found [n, k] -> [n, m]: place from 1 among the found, 0 when it is not."""
    same = wanted[:, :, None] == found[:, None, :]
    ranks: IntArray = np.where(same.any(axis=2), same.argmax(axis=2) + 1, 0)
    return ranks


def _mrr(ranks: IntArray) -> float:
    return float(np.divide(1.0, ranks, out=np.zeros(ranks.shape), where=ranks > 0).mean())


def _shared(asked: npt.NDArray[np.int32], wanted: npt.NDArray[np.int32]) -> tuple[float, ...]:
    """Share of pairs, by prefix length, whose codes agree up to there; last axis = levels."""
    agree = np.logical_and.accumulate(asked == wanted, axis=-1)
    return tuple(float(share) for share in agree.reshape(-1, agree.shape[-1]).mean(axis=0))


def _candidates(ranking: PrefixRanking, asked: npt.NDArray[np.int32]) -> tuple[float, ...]:
    return tuple(float(mean) for mean in ranking.sharing(asked).mean(axis=0))


def _recall_lines(title: str, recall: PrefixRecall) -> list[str]:
    lines = [
        title,
        f"  recall@{recall.k:<8} {recall.recall:9.4f}  by the walk down the prefixes, "
        f"{recall.num_askers:,} askers; by the vectors themselves {recall.embedding_recall:.4f}",
        f"  mrr@{recall.k:<11} {recall.mrr:9.4f}",
        "  prefix  shared  candidates",
    ]
    for level, (shared, candidates) in enumerate(
        zip(recall.shared, recall.candidates, strict=True), 1
    ):
        lines.append(f"  {level:6} {shared:7.4f} {candidates:11.1f}")
    return lines
