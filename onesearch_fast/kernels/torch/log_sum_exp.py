"""The reference of `log_sum_exp`, in float64."""

from __future__ import annotations

import torch

from onesearch_fast import _C
from onesearch_fast.registry import Implementation


def log_sum_exp(x: torch.Tensor, out: torch.Tensor) -> None:
    """Writes the log-sum-exp of every row of `x` into `out`."""
    _C.check_log_sum_exp(x, out)
    out.copy_(x.double().logsumexp(-1) if x.shape[1] else torch.full_like(out, -torch.inf))


IMPLEMENTATION = Implementation(
    backend="torch",
    device_types=("cpu",),
    dtypes=(torch.float32, torch.bfloat16, torch.float16),
    why_not=lambda: None,
    function=log_sum_exp,
)
