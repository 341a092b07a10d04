"""What a code leaves of a vector: contract, checks, choice of an implementation."""

from __future__ import annotations

import torch

from onesearch_fast.ops._arguments import choose
from onesearch_fast.registry import Operator, Tolerance

OPERATOR = Operator(
    name="code_residual",
    axes={
        "vectors": ("vector", "dim"),
        "centroids": ("code", "dim"),
        "codes": ("vector",),
        "out": ("vector", "dim"),
    },
    dtypes=(torch.float32,),
    tolerance={torch.float32: Tolerance(0.0, 0.0)},
    exact=(),
)


def code_residual(
    vectors: torch.Tensor,
    centroids: torch.Tensor,
    codes: torch.Tensor,
    normalize: bool = False,
    project: bool = False,
    *,
    out: torch.Tensor | None = None,
    backend: str | None = None,
) -> torch.Tensor:
    """Takes the centroid of its code out of every vector.

        c = centroids[codes[i]]
        r = vectors[i] - c;  with `project` vectors[i] - (vectors[i].c / c.c) c
        out[i] = r;  with `normalize` r / ||r||

    A residual under 1e-6 of ||vectors[i]|| + ||c|| is 0, so that normalising never blows rounding
    up to a direction. Sums are in float64 in one fixed order: the same bits on every backend.

    Args:
        vectors: [vector, dim] float32; rows are contiguous, at any stride.
        centroids: [code, dim] float32.
        codes: [vector] int32, in [0, code).
        normalize: scale residuals to length 1.
        project: remove the component along the centroid instead of the centroid.
        out: memory to fill and return instead of allocating; may be `vectors`.
        backend: "cpu" or "torch"; None for the best available.

    Returns:
        `out`, or a new tensor: [vector, dim] float32.

    Raises:
        TypeError: an argument of the wrong type or dtype.
        ValueError: a wrong shape, stride, device or code, or, with gradients enabled, a tensor that
            requires grad.
        BackendUnavailable: the named backend cannot run here; the message says why.

    Cost: every row is read and written once.
    """
    compute = choose(OPERATOR, "vectors", vectors, backend)
    if out is None:
        out = torch.empty_like(vectors, memory_format=torch.contiguous_format)
    compute(vectors, centroids, codes, normalize, project, out)
    return out
