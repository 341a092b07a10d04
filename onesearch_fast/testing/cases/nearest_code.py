"""Inputs of `nearest_code`, plain, tied and hostile, and how to judge a result."""

from __future__ import annotations

from functools import partial

import torch

from onesearch_fast.ops.nearest_code import nearest_code
from onesearch_fast.registry import REFERENCE, Tolerance
from onesearch_fast.testing.cases import INF, NAN, Arguments, Case, altered, plain, spread_rows


def random_codes(vectors: int = 40, codes: int = 70, dim: int = 24) -> Arguments:
    """Normal vectors and centroids, the centroids in pairs that lie nearly together."""
    generator = torch.Generator().manual_seed(vectors + 100 * codes + dim)
    centroids = torch.randn(codes, dim, generator=generator)
    centroids[1::2] = centroids[: 2 * (codes // 2) : 2] * (1 + 2.0**-20)
    return {"vectors": torch.randn(vectors, dim, generator=generator), "centroids": centroids}


def _random_codes(_: torch.dtype, **sizes: int) -> Arguments:
    return random_codes(**sizes)


_plain = partial(plain, _random_codes)
_altered = partial(altered, _random_codes)


def _doubles(generator: torch.Generator, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def _price(arguments: Arguments) -> None:
    generator = torch.Generator().manual_seed(1)
    arguments["prices"] = 20 * _doubles(generator, len(arguments["centroids"]))


def _price_by_group(arguments: Arguments) -> None:
    generator = torch.Generator().manual_seed(2)
    vectors, codes = len(arguments["vectors"]), len(arguments["centroids"])
    arguments["prices"] = 20 * _doubles(generator, 5, codes)
    arguments["groups"] = torch.randint(0, 5, (vectors,), generator=generator, dtype=torch.int32)


def _tie(arguments: Arguments) -> None:
    """Small integers: many exact ties."""
    for name in ("vectors", "centroids"):
        arguments[name] = arguments[name].round().clamp(-1, 1)


def _all_alike(arguments: Arguments) -> None:
    for name in ("vectors", "centroids"):
        arguments[name][:] = 0.7


def _poison(arguments: Arguments) -> None:
    arguments["vectors"][1, 3] = NAN
    arguments["vectors"][2, 0] = -INF
    arguments["centroids"][4, 1] = NAN
    arguments["centroids"][7] = INF


def _overflow(arguments: Arguments) -> None:
    """Squares that leave float32."""
    arguments["vectors"].mul_(1e25)
    arguments["centroids"].mul_(1e25)


def _far_from_the_origin(arguments: Arguments) -> None:
    """Distances are a small part of the norms, where a product loses most of its digits."""
    arguments["vectors"].add_(300.0)
    arguments["centroids"].add_(300.0)


CASES = (
    Case("plain", _plain()),
    *(Case(f"vectors-{n}", _plain(vectors=n)) for n in (0, 1, 12, 16, 17, 97, 200)),
    *(Case(f"codes-{n}", _plain(codes=n)) for n in (1, 2, 16, 31, 32, 33, 300)),
    *(Case(f"dim-{n}", _plain(dim=n)) for n in (1, 7, 16, 33, 128, 200)),
    Case("few_vectors_prices", _altered(_price, vectors=5)),
    Case("prices", _altered(_price)),
    Case("few_vectors_groups", _altered(_price_by_group, vectors=5)),
    Case("groups", _altered(_price_by_group)),
    Case("ties", _altered(_tie, dim=3)),
    Case("all_alike", _altered(_all_alike)),
    Case("poisoned", _altered(_poison)),
    Case("overflow", _altered(_overflow)),
    Case("far_from_the_origin", _altered(_far_from_the_origin)),
    Case("odd_strides", _altered(spread_rows("vectors", "centroids"))),
)


def poisoned(arguments: Arguments) -> torch.Tensor:
    """Memory for the result in which nothing looks right, so that every entry must be written."""
    return torch.full((len(arguments["vectors"]),), -9, dtype=torch.int32)


def check(arguments: Arguments, got: torch.Tensor, tolerance: Tolerance) -> None:
    """Asserts that every code is that of the reference."""
    want = nearest_code(**arguments, backend=REFERENCE)
    assert got.dtype == torch.int32
    assert torch.equal(got, want), f"vectors {(got != want).nonzero().flatten().tolist()[:9]}"
