"""From a split log to a served model: configuration, stages, trainer, pipeline.

Names load on first use, so that importing this package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import Any

_PUBLIC = {
    "ModelConfig": "onesearch_fast.train.config",
    "PipelineConfig": "onesearch_fast.train.config",
    "StageConfig": "onesearch_fast.train.config",
    "demo_config": "onesearch_fast.train.config",
    "real_config": "onesearch_fast.train.config",
    "smoke_config": "onesearch_fast.train.config",
    "PipelineResult": "onesearch_fast.train.pipeline",
    "run_pipeline": "onesearch_fast.train.pipeline",
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
