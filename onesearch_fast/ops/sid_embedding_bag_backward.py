"""The gradient of the table of `sid_embedding_bag`: contract, choice of an implementation."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from onesearch_fast.ops._arguments import choose
from onesearch_fast.ops._bags import as_codes, as_offsets
from onesearch_fast.registry import Operator, Tolerance

OPERATOR = Operator(
    name="sid_embedding_bag_backward",
    axes={
        "grad_out": ("bag", "dim"),
        "codes": ("item", "level"),
        "offsets": ("bag + 1",),
        "weights": ("item",),
        "bag_scales": ("bag",),
        "out": ("row", "dim"),
    },
    dtypes=(torch.float32, torch.bfloat16, torch.float16),
    # The result is float32 whatever the dtype of grad_out.
    tolerance=dict.fromkeys((torch.float32, torch.bfloat16, torch.float16), Tolerance(1e-5, 1e-4)),
    exact=(),
)


def sid_embedding_bag_backward(
    grad_out: torch.Tensor,
    codes: torch.Tensor,
    level_sizes: Sequence[int],
    offsets: torch.Tensor | None = None,
    weights: torch.Tensor | None = None,
    bag_scales: torch.Tensor | None = None,
    *,
    out: torch.Tensor | None = None,
    backend: str | None = None,
) -> torch.Tensor:
    """Adds each bag's gradient to every row that the bag looked up.

        out[r] = sum over items i and levels l with row(i, l) = r, in the order of items, of
                 weights[i] * bag_scales[bag of i] * grad_out[bag of i]            in float32

    Args:
        grad_out: [bag, dim] float32, bfloat16 or float16; rows are contiguous.
        codes, level_sizes, offsets, weights: as for `sid_embedding_bag`.
        bag_scales: [bag] float32, what the sums were multiplied by; None for 1.
        out: float32 [row, dim] to fill and return instead of allocating.
        backend: "cpu", "triton" or "torch"; None for the best available.

    Raises:
        TypeError, ValueError, BackendUnavailable: as `sid_embedding_bag`.

    Every row is summed by one thread in one order: the same bits whatever the number of threads, on
    one backend. Cost: a counting sort of the codes, then grad_out is read from cache once a code,
    and every row of `out` is written once.
    """
    compute = choose(OPERATOR, "grad_out", grad_out, backend)
    codes = as_codes(OPERATOR, "codes", codes)
    sizes = tuple(int(size) for size in level_sizes)
    if out is None:
        out = torch.empty(sum(sizes), grad_out.shape[1], device=grad_out.device)
    compute(grad_out, codes, sizes, as_offsets(OPERATOR, offsets, codes), weights, bag_scales, out)
    return out
