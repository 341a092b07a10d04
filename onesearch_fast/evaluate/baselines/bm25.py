"""BM25 of the query over item texts, by bm25s, with its parameters chosen on the stop group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import bm25s
import numpy as np
import numpy.typing as npt
from bm25s.tokenization import Tokenized

from onesearch_fast.data.records import item_text
from onesearch_fast.data.split import SEARCH, EvalCase, TrainLog
from onesearch_fast.evaluate.baselines import Baseline, BaselineContext
from onesearch_fast.evaluate.ranking import DenseRanker, Ranker, Scores, TieOrder
from onesearch_fast.evaluate.tokens import tokenise
from onesearch_fast.evaluate.tuning import mean_ndcgs


@dataclass(frozen=True)
class Bm25Parameters:
    """k1 and b of Robertson's formula, and its variant as bm25s names it."""

    k1: float = 1.2
    b: float = 0.75
    variant: str = "lucene"


K1_GRID = (1.2, 0.5, 0.9, 1.8)
B_GRID = (0.75, 0.0, 0.25, 0.5)
VARIANTS = ("lucene", "robertson", "bm25l", "bm25+")


class Bm25Ranker(DenseRanker):
    """Ranks items by the BM25 score of the query against title, brand, category and attributes."""

    def __init__(self, corpus: Tokenized, ties: TieOrder, parameters: Bm25Parameters) -> None:
        super().__init__(BASELINE.name, ties, self.scores)
        self.parameters = parameters
        self._num_items = len(corpus.ids)
        self._index = bm25s.BM25(k1=parameters.k1, b=parameters.b, method=parameters.variant)
        self._index.index(corpus, show_progress=False)

    def query_scores(self, query: str) -> npt.NDArray[np.float32]:
        """float32 [num_items]; zeros when no token of the query occurs in the catalogue."""
        tokens = self._index.get_tokens_ids(tokenise(query))
        if not tokens:
            return np.zeros(self._num_items, dtype=np.float32)
        return np.asarray(self._index.get_scores_from_ids(tokens), dtype=np.float32)

    def first_hits(self, query: str, k: int) -> list[int]:
        """Rows of at most k items, best first, that score above an item without any match."""
        scores = self.query_scores(query)
        matching = np.flatnonzero(scores > scores.min())
        if len(matching) > k:  # a whole sort for each query would take hours in a large catalogue
            worst = np.partition(scores[matching], len(matching) - k)[len(matching) - k]
            matching = matching[scores[matching] >= worst]
        order = np.lexsort((self._ties.place[matching], -scores[matching]))
        return [int(row) for row in matching[order][:k]]

    def scores(self, cases: Sequence[EvalCase]) -> Scores:
        queries = [case.query or "" for case in cases]
        by_query = {query: self.query_scores(query) for query in dict.fromkeys(queries)}
        return Scores(np.stack([by_query[query] for query in queries]))


def fit(log: TrainLog, context: BaselineContext) -> Ranker:
    """Chooses k1 and b for the Lucene variant, then the variant, by NDCG@10 on the stop group."""
    corpus = _tokenised([item_text(item) for item in log.items])

    def quality(candidate: Bm25Parameters) -> float:
        ranker = Bm25Ranker(corpus, context.ties, candidate)

        def score_all(cases: Sequence[EvalCase]) -> list[Scores]:
            return [ranker.scores(cases)]

        return float(mean_ndcgs(context.stop_cases, context.ties, score_all)[0])

    def best(candidates: Sequence[Bm25Parameters]) -> Bm25Parameters:
        return candidates[int(np.argmax([quality(candidate) for candidate in candidates]))]

    chosen = best([Bm25Parameters(k1, b) for k1 in K1_GRID for b in B_GRID])
    chosen = best([replace(chosen, variant=variant) for variant in VARIANTS])
    return Bm25Ranker(corpus, context.ties, chosen)


def _tokenised(texts: Sequence[str]) -> Tokenized:
    vocabulary: dict[str, int] = {}
    ids = [[vocabulary.setdefault(t, len(vocabulary)) for t in tokenise(text)] for text in texts]
    return Tokenized(ids=ids, vocab=vocabulary)


BASELINE = Baseline("bm25", (SEARCH,), fit)
