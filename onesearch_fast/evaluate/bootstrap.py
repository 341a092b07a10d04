"""Bootstrap intervals of mean metrics, resampling users: the unit that is drawn independently."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from onesearch_fast.errors import invalid
from onesearch_fast.evaluate.metrics import FloatArray, IntArray

NUM_RESAMPLES = 2000
CONFIDENCE = 0.95

# Resamples handled at once hold about this many user counts, which bounds the memory.
_BLOCK_CELLS = 1 << 21


def resampled_means(
    values: FloatArray,
    users: IntArray | None = None,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> FloatArray:
    """Means of every column of `values` under bootstrap resampling of users.

        means[r, m] = sum_u n[r, u] * S[u, m] / sum_u n[r, u] * N[u]

    where n[r, :] ~ Multinomial(U, 1/U), S[u, m] sums the values of user u, N[u] counts its cases.
    All columns see the same resamples, and equal (users, num_resamples, seed) give equal resamples,
    so differences of columns are paired.

    Args:
        values: float64 [num_cases, m], finite.
        users: integers [num_cases], one label per user; None = every case is its own user.

    Returns:
        float64 [num_resamples, m].

    Cost: O(num_resamples * U * m), in blocks of bounded memory. Source: Efron 1979.
    """
    _check(values, users, num_resamples)
    sums, counts = _by_user(values, users)
    num_users = len(counts)
    generator = np.random.default_rng(seed)
    block = max(1, _BLOCK_CELLS // num_users)
    means = np.empty((num_resamples, values.shape[1]))
    for begin in range(0, num_resamples, block):
        size = min(block, num_resamples - begin)
        draws = generator.integers(0, num_users, size=(size, num_users))
        draws += np.arange(size)[:, None] * num_users
        times = np.bincount(draws.ravel(), minlength=size * num_users)
        weights = times.reshape(size, num_users).astype(np.float64)
        means[begin : begin + size] = (weights @ sums) / (weights @ counts)[:, None]
    return means


def percentile_intervals(
    values: FloatArray, means: FloatArray, confidence: float = CONFIDENCE
) -> FloatArray:
    """[value, low, high] of every column: the mean, and the central share of its resampled means.

    Args:
        values: float64 [num_cases, m].
        means: float64 [num_resamples, m] from `resampled_means`.
        confidence: share in (0, 1) of the resamples between low and high.

    Returns:
        float64 [m, 3].
    """
    if not 0.0 < confidence < 1.0:
        raise invalid("percentile_intervals", "confidence", "a share in (0, 1)", confidence)
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(means, [tail, 1.0 - tail], axis=0)
    return np.stack([values.mean(axis=0), low, high], axis=1)


def paired_difference(
    first: FloatArray,
    second: FloatArray,
    users: IntArray | None = None,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
    confidence: float = CONFIDENCE,
) -> FloatArray:
    """[value, low, high] of mean(first - second) over the same cases, for every column.

    An interval that lies above 0 says that `first` is better beyond the choice of users.

    Args:
        first, second: float64 [num_cases, m], one system each, in the same order of cases.
        users, num_resamples, seed: as in `resampled_means`.

    Returns:
        float64 [m, 3].
    """
    if first.shape != second.shape:
        raise invalid("paired_difference", "second", f"shape {first.shape}", str(second.shape))
    differences = first - second
    means = resampled_means(differences, users, num_resamples, seed)
    return percentile_intervals(differences, means, confidence)


def _by_user(
    values: FloatArray, users: IntArray | None
) -> tuple[FloatArray, npt.NDArray[np.float64]]:
    if users is None:
        return values, np.ones(len(values))
    _, user = np.unique(users, return_inverse=True)
    counts = np.bincount(user).astype(np.float64)
    sums = np.zeros((len(counts), values.shape[1]))
    np.add.at(sums, user, values)
    return sums, counts


def _check(values: FloatArray, users: IntArray | None, num_resamples: int) -> None:
    where = "resampled_means"
    if values.ndim != 2 or len(values) == 0:
        raise invalid(where, "values", "float64 [num_cases >= 1, m]", str(values.shape))
    if not np.isfinite(values).all():
        raise invalid(where, "values", "finite numbers", "NaN or infinity")
    if users is not None and users.shape != (len(values),):
        raise invalid(where, "users", f"one label for each of {len(values)} cases", users.shape)
    if num_resamples < 1:
        raise invalid(where, "num_resamples", "an integer >= 1", num_resamples)
