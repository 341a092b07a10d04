"""Nearest code as encoding and k-means need it, against faiss's exact search of one neighbour."""

from __future__ import annotations

from collections.abc import Callable

import faiss
import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from onesearch_fast.ops import nearest_code

DIM = 128
CODES = (256, 512, 1024, 4096)


def unit_rows(num_rows: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(num_rows, DIM, generator=generator))


def assert_same_codes(ours: torch.Tensor, theirs: torch.Tensor | np.ndarray) -> None:
    """faiss decides near-ties in float32."""
    assert int((ours != torch.as_tensor(theirs)).sum()) <= 1e-3 * len(ours)


@pytest.mark.parametrize("num_vectors", [1, 64, 20_000])
@pytest.mark.parametrize("num_codes", CODES)
def test_nearest_code(
    race: Callable[..., None],
    request: pytest.FixtureRequest,
    num_codes: int,
    num_vectors: int,
    tiny: bool,
) -> None:
    vectors = unit_rows(min(num_vectors, 200) if tiny else num_vectors, 1)
    centroids = unit_rows(num_codes, 2)
    out = torch.empty(len(vectors), dtype=torch.int32)
    faiss.omp_set_num_threads(request.config.getoption("--threads"))
    index = faiss.IndexFlatL2(DIM)
    index.add(centroids.numpy())
    rivals = {
        "cpu": lambda: nearest_code(vectors, centroids, out=out, backend="cpu"),
        "faiss": lambda: index.search(vectors.numpy(), 1)[1][:, 0],
        "torch": lambda: nearest_code(vectors, centroids, backend="torch"),
    }
    race(rivals, assert_same_codes, 5)
