"""Full-ranking evaluation: metrics, bootstrap intervals, baselines, tables and plots.

Names load on first use, so that importing this package costs nothing.
"""

from __future__ import annotations

from onesearch_fast.lazy import lazy_names

_PUBLIC = {
    "evaluate": "onesearch_fast.evaluate.protocol",
    "EvaluationReport": "onesearch_fast.evaluate.report",
    "Ranker": "onesearch_fast.evaluate.ranking",
    "ranking_metrics": "onesearch_fast.evaluate.metrics",
    "BaselineContext": "onesearch_fast.evaluate.baselines",
    "fit_baselines": "onesearch_fast.evaluate.baselines",
    "GenerativeRanker": "onesearch_fast.evaluate.generative",
    "evaluate_served": "onesearch_fast.evaluate.served",
    "with_holdout": "onesearch_fast.evaluate.holdout",
    "print_tables": "onesearch_fast.evaluate.tables",
}

__all__ = list(_PUBLIC)
__getattr__ = lazy_names(__name__, _PUBLIC)


def __dir__() -> list[str]:
    return sorted(__all__)
