"""Inputs of `code_residual`, plain, vanishing and hostile, and how to judge a result."""

from __future__ import annotations

from functools import partial

import torch

from onesearch_fast.ops.code_residual import code_residual
from onesearch_fast.registry import REFERENCE, Tolerance
from onesearch_fast.testing.cases import INF, NAN, Arguments, Case, altered, plain, spread_rows
from onesearch_fast.testing.closeness import assert_close


def random_residuals(vectors: int = 9, codes: int = 5, dim: int = 21) -> Arguments:
    """Vectors with any codes; the first lies on its centroid, the second nearly does."""
    generator = torch.Generator().manual_seed(vectors + 10 * dim)
    x = torch.randn(vectors, dim, generator=generator)
    centroids = torch.randn(codes, dim, generator=generator)
    of = torch.randint(0, codes, (vectors,), generator=generator, dtype=torch.int32)
    x[:1] = centroids[of[:1].long()]
    x[1:2] = centroids[of[1:2].long()] * (1 + 2.0**-22)
    return {"vectors": x, "centroids": centroids, "codes": of}


def _residuals(_: torch.dtype, vectors: int = 9, dim: int = 21, **settings: bool) -> Arguments:
    return random_residuals(vectors, dim=dim) | settings


_plain = partial(plain, _residuals)
_altered = partial(altered, _residuals)


def _poison(arguments: Arguments) -> None:
    arguments["vectors"][2, 1] = NAN
    arguments["vectors"][3, 0] = INF
    arguments["centroids"][0] = 0.0


def _zeros(arguments: Arguments) -> None:
    arguments["vectors"].zero_()
    arguments["centroids"][:2] = 0.0


CASES = (
    Case("plain", _plain()),
    Case("normalize", _plain(normalize=True)),
    Case("project", _plain(project=True)),
    Case("project_normalize", _plain(project=True, normalize=True)),
    *(Case(f"dim-{n}", _plain(dim=n, normalize=True)) for n in (1, 2, 16, 128, 300)),
    *(Case(f"vectors-{n}", _plain(vectors=n, normalize=True)) for n in (0, 1, 600)),
    Case("poisoned", _altered(_poison, normalize=True)),
    Case("zeros", _altered(_zeros, normalize=True, project=True)),
    Case("odd_strides", _altered(spread_rows("vectors", "centroids"))),
)


def poisoned(arguments: Arguments) -> torch.Tensor:
    """Memory for the result in which nothing looks right, so that every entry must be written."""
    return torch.full_like(arguments["vectors"].contiguous(), 1e4)


def check(arguments: Arguments, got: torch.Tensor, tolerance: Tolerance) -> None:
    """Asserts that `got` has the bits of the reference."""
    assert_close(got, code_residual(**arguments, backend=REFERENCE), tolerance)
