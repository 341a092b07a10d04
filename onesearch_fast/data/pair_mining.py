"""Queries and items that shoppers use alike, mined from the training log by ItemCF and Swing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from onesearch_fast.data.mining_config import MiningConfig
from onesearch_fast.data.records import EVENTS, item_text
from onesearch_fast.data.split import TrainLog
from onesearch_fast.errors import invalid
from onesearch_fast.sid.alignment import AlignmentPairs, similar_pairs
from onesearch_fast.sid.analyzer import analyze

if TYPE_CHECKING:
    from scipy import sparse

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float32]
# (query, item text) pairs [n] -> relevance in [0, 1], [n]. A language model's judgement fits here.
Relevance = Callable[[Sequence[tuple[str, str]]], npt.ArrayLike]

# Pairs grow with the square of a list, so only its end counts.
MAX_GROUP = 200
# Swing is quadratic in the users of an item; those with the shortest lists say the most.
MAX_SWING_USERS = 300
_ORDERED_PER_QUERY = 20
_HARD_PER_QUERY = 5
_HARD_POOL = 20


@dataclass(frozen=True, eq=False)
class AlignmentTexts:
    """Distinct queries of a log, then its items; a pair's rows count through both."""

    queries: tuple[str, ...]
    texts: tuple[str, ...]

    @classmethod
    def of(cls, log: TrainLog) -> AlignmentTexts:
        events = (event for history in log.histories for event in history.events)
        queries = tuple(sorted({event.query for event in events if event.query is not None}))
        return cls(queries, (*queries, *(item_text(item) for item in log.items)))


def mine_pairs(
    log: TrainLog,
    texts: AlignmentTexts,
    vectors: FloatArray,
    relevance: Relevance | None = None,
    config: MiningConfig | None = None,
) -> AlignmentPairs:
    """All that `sid.alignment` is fitted on, from the training part of a log alone.

    item_item: what the same users took, by ItemCF and Swing. query_query: queries that led to the
    same items, likewise. query_item: a query and what was taken for it. order: per query, an item
    that was ordered over one clicked, and either over one only shown.
    relevance: queries with items near to them that nobody took, scored by `relevance` (default:
    `term_coverage`). `vectors` float32 [num_texts, dim] are those of `texts` by the encoder to be
    aligned.
    """
    config = config or MiningConfig()
    if len(vectors) != len(texts.texts):
        expected = f"{len(texts.texts)} rows, one a text"
        raise invalid("mine_pairs", "vectors", expected, f"shape {vectors.shape}")
    first_item = len(texts.queries)
    grades = _grades(log, texts.queries)
    taken = [pair for pair, grade in grades.items() if grade > 0]
    baskets = incidence([[e.row for e in h.events] for h in log.histories], len(log.items))
    by_item: list[list[int]] = [[] for _ in log.items]
    for query, item in taken:
        by_item[item - first_item].append(query)
    asked = incidence(by_item, first_item)
    hard = _hard_pairs(vectors, first_item, set(taken))
    judge = relevance or term_coverage
    scores = judge([(texts.texts[query], texts.texts[item]) for query, item in hard.tolist()])

    def similar(pairs: IntArray) -> IntArray:
        return similar_pairs(pairs, vectors, config.min_similarity)

    return AlignmentPairs(
        query_query=similar(_alike(asked, config)),
        item_item=similar(_alike(baskets, config) + first_item),
        query_item=similar(_rows(taken, 2)),
        order=_ordered(grades, config.seed),
        relevance=hard,
        relevance_scores=np.asarray(scores, np.float32).reshape(-1),
    )


def incidence(groups: Iterable[Sequence[int]], num_things: int) -> sparse.csr_array:
    """Sparse 0/1 [num_groups, num_things]: which things the last 200 entries of a group hold."""
    from scipy import sparse

    rows = [sorted(set(group[-MAX_GROUP:])) for group in groups]
    row = np.repeat(np.arange(len(rows)), [len(one) for one in rows])
    column = np.array([thing for one in rows for thing in one], np.int64)
    return sparse.csr_array((np.ones(len(column)), (row, column)), (len(rows), num_things))


def item_cf(groups: sparse.csr_array) -> sparse.csr_array:
    """sim(i, j) = sum over groups g with both of 1 / ln(1 + |g|) / sqrt(n_i n_j), sim(i, i) = 0.

    n_i counts the groups of i: co-occurrence, in which long groups say less.
    Source: Breese et al. 1998 (inverse user frequency). Cost: the pairs within the groups.
    """
    from scipy import sparse

    sizes = np.asarray(groups.sum(axis=1)).ravel()
    weight = np.divide(1.0, np.log1p(sizes), out=np.zeros_like(sizes), where=sizes > 0)
    scale = 1.0 / np.sqrt(np.maximum(np.asarray(groups.sum(axis=0)).ravel(), 1.0))
    scaled = groups @ sparse.diags_array(scale)
    similarity = (scaled.T @ sparse.diags_array(weight) @ scaled).tocsr()
    similarity.setdiag(0.0)
    similarity.eliminate_zeros()
    return similarity


def swing(groups: sparse.csr_array, alpha: float = 1.0) -> sparse.csr_array:
    """sim(i, j) = sum over pairs {g, h} of groups that hold both of w_g w_h / (alpha + |g & h|).

    w_g = 1 / sqrt(|g|), sim(i, i) = 0: two shoppers who agree on little else say more about the
    items that they share. An item's 300 smallest groups count.
    Source: Yang et al. 2020, arXiv 2010.05525. Cost: sum over items of groups^2 x their sizes.
    """
    from scipy import sparse

    sizes = np.asarray(groups.sum(axis=1)).ravel()
    columns = groups.tocsc()
    found = []
    for thing in range(groups.shape[1]):
        members = columns.indices[columns.indptr[thing] : columns.indptr[thing + 1]]
        members = members[np.argsort(sizes[members], kind="stable")[:MAX_SWING_USERS]]
        things, scores = _swing_of(groups[members], 1.0 / np.sqrt(sizes[members]), alpha)
        kept = (scores > 0) & (things != thing)
        found.append((np.full(int(kept.sum()), thing), things[kept], scores[kept]))
    row, column, value = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return sparse.csr_array((value, (row, column)), (groups.shape[1],) * 2)


def _swing_of(
    held: sparse.csr_array, weight: npt.NDArray[np.float64], alpha: float
) -> tuple[IntArray, npt.NDArray[np.float64]]:
    """The things that the groups held [g, num_things] hold, and each one's sum over their pairs."""
    things, local = np.unique(held.indices, return_inverse=True)
    dense = np.zeros((held.shape[0], len(things)))
    dense[np.repeat(np.arange(held.shape[0]), np.diff(held.indptr)), local] = 1.0
    swings = np.outer(weight, weight) / (alpha + dense @ dense.T)
    np.fill_diagonal(swings, 0.0)
    # `dense` is 0/1: entry (g, j) of swings @ dense sums over the other groups that hold j.
    return things, (dense * (swings @ dense)).sum(axis=0) / 2


def term_coverage(pairs: Sequence[tuple[str, str]]) -> FloatArray:
    """Share of a query's features (words, and pairs of them) that the item's text has, [n].

    The offline stand-in for a language model's judgement.
    """
    scores = []
    for query, text in pairs:
        asked = set(analyze(query))
        scores.append(len(asked & set(analyze(text))) / len(asked) if asked else 0.0)
    return np.array(scores, np.float32)


def _grades(log: TrainLog, queries: Sequence[str]) -> dict[tuple[int, int], int]:
    """Rows of (query, item) -> the highest of show 0 < click 1 < order 2.

    Queries that nobody clicked for are left out.
    """
    row_of = {query: row for row, query in enumerate(queries)}
    shown = sorted({(one.query, one.row) for one in log.shown if one.query in row_of})
    grades = {(row_of[query], len(queries) + item): 0 for query, item in shown}
    for history in log.histories:
        for event in history.events:
            if event.query is not None:
                pair = row_of[event.query], len(queries) + event.row
                grades[pair] = max(grades.get(pair, 0), EVENTS.index(event.event))
    return grades


def _alike(groups: sparse.csr_array, config: MiningConfig) -> IntArray:
    """Distinct pairs i < j that ItemCF or Swing ranks among the best of i or of j."""
    found = [
        _best(similarity, config.per_thing)
        for similarity in (item_cf(groups), swing(groups, config.swing_alpha))
    ]
    return np.unique(np.concatenate(found), axis=0)


def _best(similarity: sparse.csr_array, limit: int) -> IntArray:
    """The `limit` largest of each row as (smaller, larger), ties to the lower column."""
    pairs = []
    for row in range(similarity.shape[0]):
        inside = slice(similarity.indptr[row], similarity.indptr[row + 1])
        columns, values = similarity.indices[inside], similarity.data[inside]
        best = columns[np.lexsort((columns, -values))[:limit]]
        pairs += [(min(row, int(other)), max(row, int(other))) for other in best]
    return _rows(pairs, 2)


def _ordered(grades: Mapping[tuple[int, int], int], seed: int) -> IntArray:
    """(query, better, worse): at most 20 a query, drawn by `seed`."""
    by_query: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
    for (query, item), grade in grades.items():
        by_query[query].append((grade, item))
    random = np.random.default_rng(seed)
    triples = []
    for query, graded in sorted(by_query.items()):
        for _ in range(_ORDERED_PER_QUERY if len({grade for grade, _ in graded}) > 1 else 0):
            first, second = (graded[place] for place in random.integers(len(graded), size=2))
            if first[0] != second[0]:
                better, worse = max(first, second), min(first, second)
                triples.append((query, better[1], worse[1]))
    return np.unique(_rows(triples, 3), axis=0)


def _hard_pairs(vectors: FloatArray, num_queries: int, taken: set[tuple[int, int]]) -> IntArray:
    """Each query with the items nearest to its vector that nobody took for it, as rows of texts."""
    import faiss

    if num_queries == 0:
        return _rows([], 2)
    items = vectors[num_queries:]
    pool = min(_HARD_POOL, len(items))
    nearest = faiss.knn(vectors[:num_queries], items, pool, metric=faiss.METRIC_INNER_PRODUCT)[1]
    pairs = []
    for query, of_query in enumerate(nearest.tolist()):
        near = [(query, num_queries + item) for item in of_query]
        pairs += [pair for pair in near if pair not in taken][:_HARD_PER_QUERY]
    return _rows(pairs, 2)


def _rows(tuples: Sequence[tuple[int, ...]], width: int) -> IntArray:
    return np.array(tuples, np.int64).reshape(-1, width)
