"""The gradient of a table of semantic IDs, against `torch.Tensor.index_add_` of expanded bags."""

from __future__ import annotations

from collections.abc import Callable

import torch

from onesearch_fast.ops import sid_embedding_bag_backward
from onesearch_fast.registry import Tolerance
from onesearch_fast.testing import assert_close

LEVEL_SIZES = (4096, 1024, 512, 256, 256)


def test_sid_embedding_bag_backward(race: Callable[..., None], tiny: bool) -> None:
    bags, items, dim = 64, 200, 32 if tiny else 768
    generator = torch.Generator().manual_seed(0)
    drawn = [torch.randint(0, s, (bags * items,), generator=generator) for s in LEVEL_SIZES]
    codes = torch.stack(drawn, 1).int()
    rows = (codes + torch.tensor([0, *LEVEL_SIZES[:-1]]).cumsum(0)).flatten()
    bag = torch.arange(bags).repeat_interleave(items * len(LEVEL_SIZES))
    offsets = torch.arange(bags + 1) * items
    grad_out = torch.randn(bags, dim, generator=generator)
    out = torch.empty(sum(LEVEL_SIZES), dim)
    rivals = {
        "cpu": lambda: sid_embedding_bag_backward(grad_out, codes, LEVEL_SIZES, offsets, out=out),
        "index_add": lambda: torch.zeros_like(out).index_add_(0, rows, grad_out[bag]),
    }
    race(rivals, lambda ours, theirs: assert_close(theirs, ours, Tolerance(1e-4, 1e-3)))
