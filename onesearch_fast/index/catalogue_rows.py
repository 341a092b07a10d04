"""Rows of a catalogue as the native builders take them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from onesearch_fast.errors import invalid
from onesearch_fast.index._arrays import code_rows, finite32, float_vector, index_vector


@dataclass(frozen=True)
class CatalogueRows:
    """Arrays whose dtypes, shapes and strides have been checked; their values have not.

    Attributes:
        codes: [num_items, num_levels], any integer dtype and strides.
        item_ids: [num_items], or None.
        item_scores: [num_items], or None.
    """

    codes: npt.NDArray[np.integer]
    item_ids: npt.NDArray[np.int64] | None
    item_scores: npt.NDArray[np.float64] | None

    @classmethod
    def check(
        cls,
        where: str,
        num_levels: int,
        codes: Any,
        item_ids: Any,
        item_scores: Any,
        keep_scores: bool,
    ) -> CatalogueRows:
        """`where` opens the sentence of what is raised, as in `SidTrie.build`."""
        rows = code_rows(where, codes, num_levels, "num_items")
        ids = None if item_ids is None else index_vector(where, "item_ids", item_ids)
        scores = None if item_scores is None else float_vector(where, "item_scores", item_scores)
        for argument, vector in (("item_ids", ids), ("item_scores", scores)):
            if vector is not None and vector.shape != rows.shape[:1]:
                raise invalid(where, argument, f"shape [{rows.shape[0]}]", list(vector.shape))
        if keep_scores:
            if scores is None:
                raise invalid(where, "keep_scores", "item_scores to keep", None, "give item_scores")
            finite32(where, "item_scores", scores)
        return cls(rows, ids, scores)
