"""Operators: one file each, with the public function and its contract; `kernels/` computes them."""

from onesearch_fast.ops.constrained_beam_step import (
    BeamStepOptions,
    BeamStepResult,
    GumbelNoise,
    constrained_beam_step,
)

__all__ = ["BeamStepOptions", "BeamStepResult", "GumbelNoise", "constrained_beam_step"]
