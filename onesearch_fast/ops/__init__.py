"""Operators: one file each, with the public function and its contract; `kernels/` computes them."""

from onesearch_fast.ops.constrained_beam_step import BeamStepResult, constrained_beam_step

__all__ = ["BeamStepResult", "constrained_beam_step"]
