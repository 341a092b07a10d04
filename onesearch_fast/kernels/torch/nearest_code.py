"""The reference of `nearest_code`, on any device: a distance matrix by blocks of vectors."""

from __future__ import annotations

import torch

from onesearch_fast import _C
from onesearch_fast.kernels.torch._exact_sum import exact_sum
from onesearch_fast.registry import Implementation

# Float32 costs of a block, and float64 terms of the costs that are summed again: 64 MiB each.
_BLOCK_COSTS = 1 << 24
_BLOCK_TERMS = 1 << 23
_UNIT_ROUNDOFF = 2.0**-24
# By how much a product's operands may have been rounded, under torch's three settings.
_OPERAND_ROUNDOFF = {"highest": 0.0, "high": 2.0**-10, "medium": 2.0**-8}


def nearest_code(
    vectors: torch.Tensor,
    centroids: torch.Tensor,
    prices: torch.Tensor | None,
    groups: torch.Tensor | None,
    out: torch.Tensor,
) -> None:
    """Writes the cheapest code of every vector into `out`."""
    if vectors.device.type == "cpu":
        _C.check_nearest_code(vectors, centroids, prices, groups, out)
    step = max(1, _BLOCK_COSTS // len(centroids))
    for begin in range(0, len(vectors), step):
        rows = slice(begin, begin + step)
        own = None if prices is None else prices[None] if groups is None else prices[groups[rows]]
        out[rows] = _cheapest(vectors[rows], centroids, own).int()


def _cheapest(
    x: torch.Tensor, centroids: torch.Tensor, prices: torch.Tensor | None
) -> torch.Tensor:
    rounded = None if prices is None else prices.float()
    row, code = _possible(x, centroids, rounded).nonzero(as_tuple=True)
    cost = torch.empty(len(row), dtype=torch.float64, device=x.device)
    step = max(1, _BLOCK_TERMS // x.shape[1])
    for begin in range(0, len(row), step):
        pairs = slice(begin, begin + step)
        gap = x[row[pairs]].double() - centroids[code[pairs]].double()
        cost[pairs] = exact_sum(gap.square())
    if prices is not None:
        cost = cost + prices.expand(len(x), -1)[row, code]
    cost = cost.where(cost.isfinite(), torch.inf)
    least = torch.full((len(x),), torch.inf, dtype=torch.float64, device=x.device)
    least.scatter_reduce_(0, row, cost, "amin")
    first = torch.full((len(x),), len(centroids), device=x.device)
    best = (cost == least[row]) & cost.isfinite()
    first.scatter_reduce_(0, row[best], code[best], "amin")
    return first.where(first < len(centroids), -1)


def _possible(
    x: torch.Tensor, centroids: torch.Tensor, prices: torch.Tensor | None
) -> torch.Tensor:
    """Codes that float32 products, within their error bound, do not rule out: bool [vector, code].

    Where float32 overflowed or met NaN, none is ruled out.
    """
    norms = centroids.square().sum(1)
    costs = norms - 2 * (x @ centroids.T)
    size = norms[None]
    if prices is not None:
        costs = costs + prices
        size = size + prices.abs()
    scale = x.square().sum(1) + size.amax(1)
    tolerance = max(1e-5, 2.5 * (x.shape[1] + 8) * _UNIT_ROUNDOFF)
    tolerance += 4 * _OPERAND_ROUNDOFF[torch.get_float32_matmul_precision()]
    threshold = costs.nan_to_num(torch.inf, torch.inf).amin(1) + tolerance * scale
    unsure = ~(scale < torch.finfo(torch.float32).max)
    return (costs <= threshold[:, None]) | unsure[:, None]


IMPLEMENTATION = Implementation(
    backend="torch",
    device_types=("cpu", "cuda"),
    dtypes=(torch.float32,),
    why_not=lambda: None,
    function=nearest_code,
)
