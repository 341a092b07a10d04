"""Numbers new codes after the old ones that they stand for."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from onesearch_fast.sid.nearest import IntArray


def match_codes(new: IntArray, old: IntArray, size: int) -> npt.NDArray[np.intp]:
    """For each old code the new one that takes its number, [size].

    new, old [n]: codes of the same vectors. The one-to-one matching that lets most vectors keep
    their number, by `scipy.optimize.linear_sum_assignment` (Crouse 2016). Cost: O(size^3) at worst,
    under ten seconds for 4096 codes.
    """
    from scipy.optimize import linear_sum_assignment

    together = np.bincount(old.astype(np.int64) * size + new, minlength=size * size)
    matched: npt.NDArray[np.intp] = linear_sum_assignment(
        together.reshape(size, size), maximize=True
    )[1]
    return matched
