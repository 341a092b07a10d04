"""Codebooks on a GPU: the same bits as on the CPU, fitted and encoded, under TF32 too."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from onesearch_fast.sid.codebooks import Codebooks


@pytest.fixture(params=["highest", "high"])
def precision(request: pytest.FixtureRequest) -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(request.param)
    yield
    torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize("prq", [False, True])
def test_a_gpu_fits_and_encodes_to_the_same_bits(precision: None, prq: bool) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, 32))[rng.integers(0, 50, 5000)] + 0.5 * rng.normal(size=(5000, 32))
    books = {
        device: Codebooks.fit(
            x, (64, 32, 16), (8, 8), iterations=6, balance_slack=0.2, prq=prq, device=device
        )
        for device in ("cpu", "cuda")
    }
    for ours, theirs in zip(books["cpu"].levels, books["cuda"].levels, strict=True):
        np.testing.assert_array_equal(ours.centroids, theirs.centroids)
    codes = books["cpu"].encode(x)
    np.testing.assert_array_equal(books["cuda"].encode(x, device="cuda"), codes)
    np.testing.assert_array_equal(books["cpu"].encode(x[:9], device="cuda"), codes[:9])
