"""Click and conversion rates that few observations cannot throw far."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from onesearch_fast.data.split import TrainLog

FloatArray = npt.NDArray[np.float64]

_PRIOR = 10.0


@dataclass(frozen=True, eq=False)
class ItemCounts:
    """How often each item was shown, clicked and ordered: float64 [num_items] each.

    A log without impressions counts a click as one. An order counts as its click as well.
    """

    shown: FloatArray
    clicked: FloatArray
    ordered: FloatArray

    @classmethod
    def of(cls, log: TrainLog) -> ItemCounts:
        events = [event for history in log.histories for event in history.events]
        size = len(log.items)
        clicked = _counted([event.row for event in events], size)
        ordered = _counted([event.row for event in events if event.event == "order"], size)
        shown = _counted([one.row for one in log.shown], size)
        return cls(np.maximum(shown, clicked), clicked, ordered)

    def ctr(self) -> FloatArray:
        """log(clicked + 10) / log((shown + 10) (clicked + 10) (ordered + 10)), in (0, 1).

        Source: OneSearch, arXiv 2509.03236, section 3.4, as all of this module.
        """
        parts = (np.log(count + _PRIOR) for count in (self.shown, self.clicked, self.ordered))
        return np.asarray(np.log(self.clicked + _PRIOR) / sum(parts))

    def cvr(self) -> FloatArray:
        """log(ordered + 10) / log(clicked + 10), in (0, 1]."""
        return np.asarray(np.log(self.ordered + _PRIOR) / np.log(self.clicked + _PRIOR))

    def quality(self) -> FloatArray:
        """2 ctr cvr / (ctr + cvr): what a behaviour level weighs."""
        ctr, cvr = self.ctr(), self.cvr()
        return 2.0 * ctr * cvr / (ctr + cvr)


def _counted(rows: list[int], size: int) -> FloatArray:
    return np.bincount(np.asarray(rows, dtype=np.int64), minlength=size).astype(np.float64)
