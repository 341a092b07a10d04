"""What an evaluation found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from onesearch_fast.evaluate.metrics import FloatArray

# A mean with the ends of its 95 % bootstrap interval: [value, low, high].
Interval = list[float]
# {"hr@10": [value, low, high], ...}
Metrics = dict[str, Interval]


@dataclass(frozen=True)
class SliceResult:
    """Metrics of one system in one slice of `num_cases` cases."""

    num_cases: int
    metrics: Metrics


@dataclass(frozen=True)
class EvaluationReport:
    """Results by system and by key "<task>/<split name>".

    metrics[system][key] -> Metrics. slices[system][key][family][label] -> SliceResult.
    references[key] -> the system with which the others are compared, and paired[key][system] ->
    Metrics of (reference - system) over the same cases. case_values[system][key][metric] -> float64
    [num_cases], in the order of the reported cases. meta -> how it was made, as JSON.
    """

    metrics: Mapping[str, Mapping[str, Metrics]]
    slices: Mapping[str, Mapping[str, Mapping[str, Mapping[str, SliceResult]]]]
    references: Mapping[str, str]
    paired: Mapping[str, Mapping[str, Metrics]]
    case_values: Mapping[str, Mapping[str, Mapping[str, FloatArray]]]
    meta: Mapping[str, Any]

    @property
    def keys(self) -> list[str]:
        """Every "<task>/<split name>", in the order of evaluation."""
        return list(dict.fromkeys(key for results in self.metrics.values() for key in results))

    def systems(self, key: str) -> list[str]:
        return [system for system, results in self.metrics.items() if key in results]

    def metrics_json(self) -> dict[str, dict[str, Metrics]]:
        """{system: {"<task>/<split>": {"hr@10": [value, low, high], ...}}} and nothing else."""
        return {system: dict(results) for system, results in self.metrics.items()}

    def report_json(self) -> dict[str, Any]:
        """Everything beside the metrics: slices, paired differences, and how it was made."""
        slices = {
            system: {
                key: {
                    family: {
                        label: {"num_cases": one.num_cases, **one.metrics}
                        for label, one in labels.items()
                    }
                    for family, labels in families.items()
                }
                for key, families in results.items()
            }
            for system, results in self.slices.items()
        }
        paired = {key: dict(systems) for key, systems in self.paired.items()}
        return {
            "meta": dict(self.meta),
            "paired": {"reference": dict(self.references), "reference_minus_system": paired},
            "slices": slices,
        }
