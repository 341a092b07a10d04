"""Ranking metrics of whole tables of rankings, one value per case (defined in docs/metrics.md)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from onesearch_fast.errors import invalid

IntArray = npt.NDArray[np.integer[Any]]
FloatArray = npt.NDArray[np.float64]

METRICS = ("hr", "mrr", "ndcg", "recall")
KS = (1, 5, 10, 50)


def ranking_metrics(
    ranked: IntArray, targets: IntArray, ks: Sequence[int] = KS
) -> dict[str, FloatArray]:
    """HR, MRR, NDCG and Recall at every cutoff, for each case.

    With T the set of targets of a case and r_1 < r_2 < ... the (1-based) ranks of the targets that
    stand in its ranking:

        HR@k = [r_1 <= k]        MRR@k = [r_1 <= k] / r_1        Recall@k = |{i : r_i <= k}| / |T|
        NDCG@k = sum_{r_i <= k} 1 / log2(1 + r_i)  /  sum_{i <= min(k, |T|)} 1 / log2(1 + i)

    Args:
        ranked: integers [num_cases, K], item rows best first, -1 = no item; no row twice.
        targets: integers [num_cases] or [num_cases, T], item rows, padded with -1; a case has at
            least one target and none twice.
        ks: cutoffs, each in [1, K].

    Returns:
        {"hr@1": float64 [num_cases], ...}, every metric of `METRICS` at every k.

    Cost: O(num_cases K T). Source: Järvelin and Kekäläinen 2002 for NDCG with binary gains.
    """
    targets = targets[:, None] if targets.ndim == 1 else targets
    _check(ranked, targets, ks)
    hits = target_hits(ranked, targets)
    num_targets = (targets >= 0).sum(axis=1)
    found = np.cumsum(hits, axis=1)
    discount = 1.0 / np.log2(np.arange(2, ranked.shape[1] + 2))
    gains = np.cumsum(hits * discount, axis=1)
    ideal = np.cumsum(discount)
    first = np.where(hits.any(axis=1), hits.argmax(axis=1) + 1, np.iinfo(np.int64).max)
    values: dict[str, FloatArray] = {}
    for k in ks:
        values[f"hr@{k}"] = (first <= k).astype(np.float64)
        values[f"mrr@{k}"] = np.where(first <= k, 1.0 / first, 0.0)
        values[f"ndcg@{k}"] = gains[:, k - 1] / ideal[np.minimum(num_targets, k) - 1]
        values[f"recall@{k}"] = found[:, k - 1] / num_targets
    return values


def target_hits(ranked: IntArray, targets: IntArray) -> npt.NDArray[np.bool_]:
    """bool [num_cases, K]: which of `ranked` [num_cases, K] are in `targets` [num_cases, T]."""
    hits = np.zeros(ranked.shape, dtype=np.bool_)
    for column in targets.T:
        hits |= (ranked == column[:, None]) & (column[:, None] >= 0)
    return hits


def rows_with_duplicates(rows: IntArray) -> npt.NDArray[np.bool_]:
    """bool [n]: which rows of an integer table [n, K] hold some non-negative number twice."""
    ordered = np.sort(rows, axis=1)
    return np.asarray(((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)).any(axis=1))


def check_cutoffs(ks: Sequence[int], where: str) -> None:
    """Raises ValueError unless `ks` are distinct positive integers."""
    whole = all(isinstance(k, int) and not isinstance(k, bool) and k >= 1 for k in ks)
    if not ks or not whole or len(set(ks)) != len(ks):
        raise invalid(where, "ks", "distinct integers >= 1", ks)


def _check(ranked: IntArray, targets: IntArray, ks: Sequence[int]) -> None:
    where = "ranking_metrics"
    check_cutoffs(ks, where)
    for name, array in (("ranked", ranked), ("targets", targets)):
        if array.ndim != 2 or not np.issubdtype(array.dtype, np.integer):
            raise invalid(where, name, "integers of two axes", f"{array.dtype} {array.shape}")
    if len(ranked) != len(targets):
        raise invalid(where, "targets", f"{len(ranked)} rows as in ranked", len(targets))
    if ranked.shape[1] < max(ks):
        remedy = "rank at least max(ks) items for each case"
        raise invalid(where, "ranked", f"at least {max(ks)} columns", ranked.shape[1], remedy)
    if not (targets >= 0).any(axis=1).all():
        case = int(np.argmin((targets >= 0).any(axis=1)))
        raise invalid(where, "targets", "at least one target in every case", f"none in case {case}")
    for name, array in (("ranked", ranked), ("targets", targets)):
        doubled = rows_with_duplicates(array)
        if doubled.any():
            raise invalid(where, name, "no row twice in a case", f"case {int(doubled.argmax())}")
