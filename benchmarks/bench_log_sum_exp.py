"""Log-sum-exp over a vocabulary for every beam, against `torch.logsumexp`."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from onesearch_fast.ops import log_sum_exp
from onesearch_fast.registry import Tolerance
from onesearch_fast.testing import assert_close
from onesearch_fast.testing.cases.log_sum_exp import random_logits

SHAPES = {"level": (256, 1024), "vocabulary": (256, 10240), "bart-base": (512, 56409)}
TOLERANCE = Tolerance(1e-6, 1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shape", SHAPES)
def test_log_sum_exp(race: Callable[..., None], shape: str, dtype: torch.dtype) -> None:
    rows, columns = SHAPES[shape]
    x = random_logits(dtype, 4, columns)["x"].repeat(rows // 4, 1)
    out = torch.empty(rows)
    rivals = {
        "cpu": lambda: log_sum_exp(x, out=out, backend="cpu"),
        "torch": lambda: x.float().logsumexp(-1),
    }

    def assert_near(ours: torch.Tensor, theirs: torch.Tensor) -> None:
        assert_close(theirs, ours, TOLERANCE)

    race(rivals, assert_near, repeats=5)
