"""Nearest code of vectors, with prices: contract, checks, choice of an implementation."""

from __future__ import annotations

import torch

from onesearch_fast.ops._arguments import choose
from onesearch_fast.registry import Operator, Tolerance

OPERATOR = Operator(
    name="nearest_code",
    axes={
        "vectors": ("vector", "dim"),
        "centroids": ("code", "dim"),
        "prices": ("group", "code"),
        "groups": ("vector",),
        "out": ("vector",),
    },
    dtypes=(torch.float32,),
    tolerance={torch.float32: Tolerance(0.0, 0.0)},
    exact=(),
)


def nearest_code(
    vectors: torch.Tensor,
    centroids: torch.Tensor,
    prices: torch.Tensor | None = None,
    groups: torch.Tensor | None = None,
    *,
    out: torch.Tensor | None = None,
    backend: str | None = None,
) -> torch.Tensor:
    """The cheapest code of every vector.

        out[i] = argmin over c of ||vectors[i] - centroids[c]||^2 + price of c, ties to the lower c

    The argmin is that of float64 costs, each summed in one fixed order, so a code depends on the
    bits of its vector, the centroids and the prices alone: not on the batch, the threads, the
    instruction set or the device. Float32 products only rule codes out, within their error bound.

    Args:
        vectors: [vector, dim] float32; rows are contiguous, at any stride.
        centroids: [code, dim] float32, at least one code and one dimension.
        prices: [code] float64, or [group, code] with `groups`; None: all codes are free. In
            float32, prices could not part vectors that differ in their last bits.
        groups: [vector] int32, the row of `prices` that a vector pays.
        out: memory to fill and return instead of allocating.
        backend: "cpu" or "torch"; None for the best available.

    Returns:
        `out`, or a new tensor: [vector] int32. Codes whose cost is not finite are never chosen; a
        vector without any other has -1.

    Raises:
        TypeError: an argument of the wrong type or dtype.
        ValueError: a wrong shape, stride, device or group, or, with gradients enabled, a tensor
            that requires grad.
        BackendUnavailable: the named backend cannot run here; the message says why.

    Cost: vector x code x dim multiply-adds, near the processor's peak; no distance matrix is
    written. Costs within 1e-5 of the least (relative to the squared lengths) are summed again.
    """
    compute = choose(OPERATOR, "vectors", vectors, backend)
    if out is None:
        out = vectors.new_empty(vectors.shape[0], dtype=torch.int32)
    compute(vectors, centroids, prices, groups, out)
    return out
