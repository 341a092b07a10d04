"""Operators: one file each, with the public function and its contract; `kernels/` computes them."""

from onesearch_fast.ops.add_norm import AddNormResult, add_norm
from onesearch_fast.ops.beam_attention import beam_attention
from onesearch_fast.ops.causal_attention import causal_attention
from onesearch_fast.ops.code_residual import code_residual
from onesearch_fast.ops.constrained_beam_step import (
    BeamStepOptions,
    BeamStepResult,
    GumbelNoise,
    constrained_beam_step,
)
from onesearch_fast.ops.int8_linear import int8_linear, pack_int8_weight
from onesearch_fast.ops.log_sum_exp import log_sum_exp
from onesearch_fast.ops.nearest_code import nearest_code
from onesearch_fast.ops.rms_norm import rms_norm
from onesearch_fast.ops.rotary import QueryKeyValue, rotary
from onesearch_fast.ops.sid_embedding_bag import sid_embedding_bag
from onesearch_fast.ops.sid_embedding_bag_backward import sid_embedding_bag_backward
from onesearch_fast.ops.swiglu import swiglu

__all__ = [
    "AddNormResult",
    "BeamStepOptions",
    "BeamStepResult",
    "GumbelNoise",
    "QueryKeyValue",
    "add_norm",
    "beam_attention",
    "causal_attention",
    "code_residual",
    "constrained_beam_step",
    "int8_linear",
    "log_sum_exp",
    "nearest_code",
    "pack_int8_weight",
    "rms_norm",
    "rotary",
    "sid_embedding_bag",
    "sid_embedding_bag_backward",
    "swiglu",
]
