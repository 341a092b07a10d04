"""Inputs of `code_residual`, plain, vanishing and hostile, and how to judge a result."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from onesearch_fast.ops.code_residual import code_residual
from onesearch_fast.registry import REFERENCE, Tolerance
from onesearch_fast.testing.cases import Case
from onesearch_fast.testing.closeness import assert_close

Arguments = dict[str, Any]
INF, NAN = float("inf"), float("nan")


def random_residuals(vectors: int = 9, codes: int = 5, dim: int = 21) -> Arguments:
    """Vectors with any codes; the first lies on its centroid, the second nearly does."""
    generator = torch.Generator().manual_seed(vectors + 10 * dim)
    x = torch.randn(vectors, dim, generator=generator)
    centroids = torch.randn(codes, dim, generator=generator)
    of = torch.randint(0, codes, (vectors,), generator=generator, dtype=torch.int32)
    x[:1] = centroids[of[:1].long()]
    x[1:2] = centroids[of[1:2].long()] * (1 + 2.0**-22)
    return {"vectors": x, "centroids": centroids, "codes": of}


def _with(**settings: Any) -> Callable[[torch.dtype], Arguments]:
    sizes = {name: settings.pop(name) for name in ("vectors", "dim") if name in settings}
    return lambda _: random_residuals(**sizes) | settings


def _poison(_: torch.dtype) -> Arguments:
    arguments = random_residuals() | {"normalize": True}
    arguments["vectors"][2, 1] = NAN
    arguments["vectors"][3, 0] = INF
    arguments["centroids"][0] = 0.0
    return arguments


def _zeros(_: torch.dtype) -> Arguments:
    arguments = random_residuals() | {"normalize": True, "project": True}
    arguments["vectors"].zero_()
    arguments["centroids"][:2] = 0.0
    return arguments


def _widen_strides(_: torch.dtype) -> Arguments:
    arguments = random_residuals()
    for name in ("vectors", "centroids"):
        values = arguments[name]
        room = torch.full((2 * len(values), values.shape[1] + 3), NAN)
        room[::2, 2:-1] = values
        arguments[name] = room[::2, 2:-1]
    return arguments


CASES = (
    Case("plain", _with()),
    Case("normalize", _with(normalize=True)),
    Case("project", _with(project=True)),
    Case("project_normalize", _with(project=True, normalize=True)),
    *(Case(f"dim-{n}", _with(dim=n, normalize=True)) for n in (1, 2, 16, 128, 300)),
    *(Case(f"vectors-{n}", _with(vectors=n, normalize=True)) for n in (0, 1, 600)),
    Case("poisoned", _poison),
    Case("zeros", _zeros),
    Case("odd_strides", _widen_strides),
)


def poisoned(arguments: Arguments) -> torch.Tensor:
    """Memory for the result in which nothing looks right, so that every entry must be written."""
    return torch.full_like(arguments["vectors"].contiguous(), 1e4)


def check(arguments: Arguments, got: torch.Tensor, tolerance: Tolerance) -> None:
    """Asserts that `got` has the bits of the reference."""
    assert_close(got, code_residual(**arguments, backend=REFERENCE), tolerance)
