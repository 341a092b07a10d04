"""The reference of `code_residual`, on any device."""

from __future__ import annotations

import torch

from onesearch_fast import _C
from onesearch_fast.kernels.torch._exact_sum import exact_sum
from onesearch_fast.registry import Implementation

_NOTHING_LEFT = 1e-6


def code_residual(
    vectors: torch.Tensor,
    centroids: torch.Tensor,
    codes: torch.Tensor,
    normalize: bool,
    project: bool,
    out: torch.Tensor,
) -> None:
    """Writes what the centroid of its code leaves of every vector into `out`."""
    if vectors.device.type == "cpu":
        _C.check_code_residual(vectors, centroids, codes, normalize, project, out)
    chosen = centroids[codes.long()]
    x, c = vectors.double(), chosen.double()
    if project:
        length = exact_sum(c * c)
        share = torch.where(length > 0, exact_sum(x * c) / length, 0.0)
        rest = (x - share[:, None] * c).float()
    else:
        rest = vectors - chosen
    left = exact_sum(rest.double().square()).sqrt()
    whole = exact_sum(x.square()).sqrt() + exact_sum(c.square()).sqrt()
    vanished = left <= _NOTHING_LEFT * whole
    if normalize:
        rest = (rest.double() / left.where(~vanished, 1.0)[:, None]).float()
    out.copy_(torch.where(vanished[:, None], 0.0, rest))


IMPLEMENTATION = Implementation(
    backend="torch",
    device_types=("cpu", "cuda"),
    dtypes=(torch.float32,),
    why_not=lambda: None,
    function=code_residual,
)
