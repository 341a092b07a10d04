"""Tries built from codes on a GPU: the bytes of those built on the host."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from onesearch_fast.index import SidTrie
from onesearch_fast.testing.tries import random_codes


@pytest.mark.parametrize("sizes", [(4096, 1024, 512, 256, 256), (16, 16, 16), (65536,) * 8])
@pytest.mark.parametrize("dtype", [torch.int16, torch.int32, torch.int64, torch.uint16])
def test_the_bytes_are_the_same(sizes: tuple[int, ...], dtype: torch.dtype) -> None:
    most = torch.iinfo(dtype).max
    codes = random_codes(50000, sizes, skew=1.0).clip(max=most)
    on_gpu = torch.from_numpy(codes.astype(np.int64)).to(dtype).cuda()
    rng = np.random.default_rng(0)
    items = {"item_ids": rng.permutation(50000) * 3, "item_scores": rng.integers(0, 9, 50000)}
    for arguments in ({}, items, items | {"keep_scores": True}):
        built = SidTrie.build(on_gpu, sizes, **arguments)
        want = SidTrie.build(codes, sizes, **arguments)
        assert built._handle.fingerprint == want._handle.fingerprint


def test_what_is_unsound_is_refused_in_the_native_words() -> None:
    codes = torch.tensor([[0, 1], [1, 4]], device="cuda")
    with pytest.raises(ValueError, match=r"\[0, 4\) at level 1.*4 at row 1"):
        SidTrie.build(codes, (4, 4))
    with pytest.raises(ValueError, match="distinct ids"):
        SidTrie.build(codes, (5, 5), item_ids=torch.tensor([3, 3], device="cuda"))
