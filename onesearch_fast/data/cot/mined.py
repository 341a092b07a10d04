"""Keywords mined from the log: the attributes of what others click for the same words."""

from __future__ import annotations

import heapq
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from onesearch_fast.data.cot import MAX_KEYWORDS, Asked, Keywords
from onesearch_fast.data.records import item_text
from onesearch_fast.data.split import TrainLog
from onesearch_fast.sid.keywords import KeywordDictionary

# A query's own clicks say more than those of other queries that share a word with it. Sums are of
# whole numbers, so that a click that is taken out leaves no rounding behind.
_WORDS_PER_QUERY = 10
_CHANCE = 2.0


class MinedThoughts:
    """score(k | q, u) = idf(k) n^2 / (n + 2) (1 + p(u, k))

    with n = n(q, k) + 0.1 sum over keywords w in q of n(w, k). n(q, k) counts clicks that others
    than u made for the query on items with keyword k, n(w, k) those for queries in which w stands;
    the 2 takes chance hits down. p(u, k) counts the items with k in the user's past, and
    idf(k) = log((1 + items) / (1 + items with k)) leaves out what every item has. So what a user
    clicks never enters what is said of that user's own queries, but through the past. Source:
    OneSearch-V2, arXiv 2603.24422, section 3.2, with a log in the place of its language model.

    Cost: O(clicks x keywords of an item); a query that many share a word with is the slow one.
    """

    def __init__(self, log: TrainLog, dictionary: KeywordDictionary) -> None:
        self._dictionary = dictionary
        self._names = [keyword.text for keyword in dictionary.keywords]
        self._of_item = [tuple(dictionary.match_indices(item_text(item))) for item in log.items]
        self._idf = self._inverse_frequencies(len(log.items))
        self._of_query: defaultdict[str, Counter[int]] = defaultdict(Counter)
        self._of_word: defaultdict[int, Counter[int]] = defaultdict(Counter)
        self._clicks: dict[str, list[tuple[str, int]]] = {}
        self._words: dict[str, tuple[int, ...]] = {}
        for history in log.histories:
            clicks = [(event.query, event.row) for event in history.events if event.query]
            self._clicks[history.user_id] = clicks
            for query, row in clicks:
                self._count(self._of_query[query], row, 1)
                for word in self._words_of(query):
                    self._count(self._of_word[word], row, 1)

    def of_queries(self, queries: Sequence[str]) -> list[Keywords]:
        return [self._best(query, (), {}) for query in queries]

    def of_users(self, asked: Sequence[Asked]) -> list[Keywords]:
        return [self._of_user(one) for one in asked]

    def of_item(self, row: int) -> Keywords:
        """The keywords of an item, rare ones first."""
        ranked = sorted(self._of_item[row], key=lambda k: (-self._idf[k], self._names[k]))
        return tuple(self._names[k] for k in ranked[:MAX_KEYWORDS])

    def _of_user(self, asked: Asked) -> Keywords:
        past: Counter[int] = Counter()
        for event in asked.past:
            self._count(past, event.row, 1)
        return self._best(asked.query, self._clicks.get(asked.user_id, ()), past)

    def _best(
        self, query: str, own: Sequence[tuple[str, int]], past: Mapping[int, int]
    ) -> Keywords:
        words = self._words_of(query)
        counts: Counter[int] = Counter()
        for k, count in self._of_query.get(query, {}).items():
            counts[k] += _WORDS_PER_QUERY * count
        for word in words:
            counts.update(self._of_word.get(word, {}))
        for other, row in own:
            shared = len(set(words).intersection(self._words_of(other)))
            for k in self._of_item[row]:
                counts[k] -= _WORDS_PER_QUERY * (other == query) + shared
        ranked = (
            (-n * n / (n + _CHANCE) * self._idf[k] * (1 + past.get(k, 0)), self._names[k])
            for k, n in ((k, count / _WORDS_PER_QUERY) for k, count in counts.items())
            if n > 0
        )
        return tuple(name for _, name in heapq.nsmallest(MAX_KEYWORDS, ranked))

    def _words_of(self, query: str) -> tuple[int, ...]:
        if query not in self._words:
            self._words[query] = tuple(self._dictionary.match_indices(query))
        return self._words[query]

    def _count(self, counts: Counter[int], row: int, times: int) -> None:
        for k in self._of_item[row]:
            counts[k] += times

    def _inverse_frequencies(self, num_items: int) -> list[float]:
        frequency = Counter(k for keywords in self._of_item for k in keywords)
        return [math.log((1 + num_items) / (1 + frequency[k])) for k in range(len(self._names))]
