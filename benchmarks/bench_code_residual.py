"""Residuals of vectors, of length 1, against the same in numpy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from onesearch_fast.ops import code_residual
from onesearch_fast.testing.cases.code_residual import random_residuals


def numpy_residual(x: np.ndarray, centroids: np.ndarray, codes: np.ndarray) -> np.ndarray:
    r = x - centroids[codes]
    with np.errstate(invalid="ignore"):  # the first vector lies on its centroid
        return r / np.linalg.norm(r.astype(np.float64), axis=1, keepdims=True).astype(np.float32)


def assert_close(ours: torch.Tensor, theirs: np.ndarray) -> None:
    torch.testing.assert_close(ours[2:], torch.from_numpy(theirs)[2:], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("num_vectors", [3, 20_000])
def test_code_residual(race: Callable[..., None], num_vectors: int) -> None:
    arguments = random_residuals(num_vectors, 4096, 128)
    arrays = [tensor.numpy() for tensor in arguments.values()]
    out = torch.empty_like(arguments["vectors"])
    rivals = {
        "cpu": lambda: code_residual(**arguments, normalize=True, out=out, backend="cpu"),
        "numpy": lambda: numpy_residual(*arrays),
    }
    race(rivals, assert_close, 7)
