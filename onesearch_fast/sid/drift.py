"""How well codebooks serve vectors that came after they were fitted."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from onesearch_fast.errors import invalid
from onesearch_fast.sid.codebooks import Codebooks
from onesearch_fast.sid.levels import LevelFit
from onesearch_fast.sid.nearest import usable_device
from onesearch_fast.sid.vectors import VectorSource


@dataclass(frozen=True)
class LevelDrift:
    """One level, on the vectors it was fitted to and on others.

    distortion: mean of ||rest - centroid||^2. utilisation: codes in use / codes. moved: half the
    sum over codes of |share of the others - share then|, 0 (same use) to 1 (no code in common).
    """

    fitted_distortion: float
    distortion: float
    fitted_utilisation: float
    utilisation: float
    moved: float


@dataclass(frozen=True)
class Drift:
    """Per level, and over how many vectors."""

    num_vectors: int
    levels: tuple[LevelDrift, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    def as_text(self) -> str:
        """A table for a terminal."""
        lines = ["level   distortion (fitted)   utilisation (fitted)   use moved"]
        for number, level in enumerate(self.levels, 1):
            lines.append(
                f"{number:5}   {level.distortion:10.4f} ({level.fitted_distortion:6.4f})   "
                f"{level.utilisation:11.4f} ({level.fitted_utilisation:6.4f})   {level.moved:9.4f}"
            )
        return "\n".join(lines)


def measure_drift(book: Codebooks, x: Any, device: str | None = "cpu") -> Drift:
    """Compares how `book` serves x [n, dim] with how it served what it was fitted to.

    Few vectors use few codes: `utilisation` and `moved` say something from about ten vectors a code
    on, `distortion` says it always. x: as for `Codebooks.fit`. Cost: one encoding.
    """
    if book.fitted is None:
        remedy = "fit them with Codebooks.fit"
        raise invalid("measure_drift", "book", "codebooks that know their fit", "others", remedy)
    device = usable_device("measure_drift", device)
    source = VectorSource("measure_drift", "x", x, book.dim)
    num_vectors = 0
    distortions = np.zeros(book.num_levels)
    uses: list[npt.NDArray[np.float64]] = [np.zeros(size) for size in book.level_sizes]
    for chunk in source.chunks():
        num_vectors += len(chunk)
        for number, (rest, codes) in enumerate(book.walk(chunk, device)):
            one = LevelFit.of(rest, book.levels[number].centroids, codes)
            distortions[number] += one.distortion * len(chunk)
            uses[number] += one.use * np.float64(len(chunk))
    if num_vectors == 0:
        raise invalid("measure_drift", "x", "at least one row", "none")
    levels = [
        LevelDrift(
            fitted_distortion=fitted.distortion,
            distortion=float(distortion) / num_vectors,
            fitted_utilisation=fitted.utilisation,
            utilisation=float((use > 0).mean()),
            moved=float(np.abs(use / num_vectors - fitted.use).sum() / 2),
        )
        for fitted, distortion, use in zip(book.fitted, distortions, uses, strict=True)
    ]
    return Drift(num_vectors, tuple(levels))
