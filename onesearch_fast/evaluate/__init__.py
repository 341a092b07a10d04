"""Full-ranking evaluation: metrics, bootstrap intervals, baselines, tables and plots.

Names load on first use, so that importing this package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import Any

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


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_PUBLIC[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
