"""From a split log to a served model: configuration, stages, trainer, pipeline.

Names load on first use, so that importing this package costs nothing.
"""

from __future__ import annotations

from onesearch_fast.lazy import lazy_names

_PUBLIC = {
    "DpoConfig": "onesearch_fast.train.config",
    "ModelConfig": "onesearch_fast.train.config",
    "ObjectiveConfig": "onesearch_fast.train.config",
    "PipelineConfig": "onesearch_fast.train.config",
    "PolicyConfig": "onesearch_fast.train.config",
    "StageConfig": "onesearch_fast.train.config",
    "ThoughtConfig": "onesearch_fast.train.config",
    "demo_config": "onesearch_fast.train.config",
    "read_config": "onesearch_fast.train.config",
    "real_config": "onesearch_fast.train.config",
    "smoke_config": "onesearch_fast.train.config",
    "PipelineResult": "onesearch_fast.train.pipeline",
    "run_pipeline": "onesearch_fast.train.pipeline",
    "update_served": "onesearch_fast.train.update",
}

__all__ = list(_PUBLIC)
__getattr__ = lazy_names(__name__, _PUBLIC)


def __dir__() -> list[str]:
    return sorted(__all__)
