"""The served model as a system under evaluation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from onesearch_fast.data.records import Item
from onesearch_fast.data.split import EvalCase
from onesearch_fast.engine.requests import PastEvent, SearchRequest, UserContext
from onesearch_fast.errors import invalid
from onesearch_fast.evaluate.metrics import FloatArray
from onesearch_fast.evaluate.protocol import GENERATIVE

DEFAULT_BEAMS = 128
VALID_SID_RATE = "valid_sid_rate"
VALIDITY_CASES = 256
VALIDITY_BEAMS = 32

# Between two reports of progress; enough for the searcher to sort its batches by length.
_CASES_AT_ONCE = 2048


class RowSearcher(Protocol):
    """What evaluation needs of a `Searcher`."""

    @property
    def item_ids(self) -> Sequence[str]:
        """Ids of the served catalogue, by row."""
        ...

    def search_rows(
        self, requests: Sequence[SearchRequest], k: int, num_beams: int
    ) -> npt.NDArray[np.int32]:
        """int32 [num_requests, k]: rows, best first, padded with -1, history removed."""
        ...

    def valid_sid_rates(
        self, requests: Sequence[SearchRequest], num_beams: int
    ) -> npt.NDArray[np.float64]:
        """float64 [num_requests]: share of unconstrained beams that are SIDs of the catalogue."""
        ...


class GenerativeRanker:
    """Ranks by constrained beam search; measures how often unconstrained beams are valid SIDs.

    Args:
        searcher: the served model.
        items: the catalogue whose rows cases and rankings speak of; it must be the served one.
        num_beams: beams of the search, which bound how many items can be found at all.
        seed: of the sample of cases on which the valid-SID rate is measured.
        say: hears how far a long ranking has come.
    """

    name = GENERATIVE

    def __init__(
        self,
        searcher: RowSearcher,
        items: Sequence[Item],
        num_beams: int = DEFAULT_BEAMS,
        seed: int = 0,
        say: Callable[[str], None] = lambda message: None,
    ) -> None:
        if not isinstance(num_beams, int) or num_beams < 1:
            raise invalid("GenerativeRanker", "num_beams", "an integer >= 1", num_beams)
        if list(searcher.item_ids) != [item.item_id for item in items]:
            expected = f"the {len(searcher.item_ids)} items of the served model, in their order"
            remedy = "evaluate on the data that the model was trained on"
            got = f"other items ({len(items)})"
            raise invalid("GenerativeRanker", "items", expected, got, remedy)
        self._searcher = searcher
        self._items = items
        self._num_beams = num_beams
        self._seed = seed
        self._say = say

    def rank(self, cases: Sequence[EvalCase], k: int) -> npt.NDArray[np.int32]:
        ranked = np.full((len(cases), k), -1, dtype=np.int32)
        for begin in range(0, len(cases), _CASES_AT_ONCE):
            requests = [self._request(case) for case in cases[begin : begin + _CASES_AT_ONCE]]
            done = begin + len(requests)
            ranked[begin:done] = self._searcher.search_rows(requests, k, self._num_beams)
            self._say(f"{self.name}: {done:,} of {len(cases):,} cases ranked")
        return ranked

    def case_values(self, cases: Sequence[EvalCase]) -> Mapping[str, FloatArray]:
        """valid_sid_rate of 256 sampled cases: the share of 32 beams of a search over the whole
        vocabulary that are semantic IDs of the catalogue; NaN for the other cases."""
        rates = np.full(len(cases), np.nan)
        sample = np.random.default_rng(self._seed).permutation(len(cases))[:VALIDITY_CASES]
        requests = [self._request(cases[index]) for index in sample]
        rates[sample] = self._searcher.valid_sid_rates(requests, VALIDITY_BEAMS)
        return {VALID_SID_RATE: rates}

    def _request(self, case: EvalCase) -> SearchRequest:
        history = [
            PastEvent(self._items[one.row].item_id, one.query, one.event) for one in case.history
        ]
        return SearchRequest(case.query, UserContext(case.profile, history))
