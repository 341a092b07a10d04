"""Tries built of codes in a GPU's memory, against the host's builder, and their upload."""

from __future__ import annotations

from functools import partial

import torch
from gpu_operators import Row, Rows
from gpu_timing import Target

from onesearch_fast import _C
from onesearch_fast.index import SidTrie
from onesearch_fast.index.device_builder import DeviceRows, build_on_device
from onesearch_fast.kernels.cuda._device import Uploaded
from onesearch_fast.testing import random_codes

LEVEL_SIZES = (4096, 1024, 512, 256, 256)


def measure(target: Target) -> Rows:
    for num_items in (3000,) if target.dry else (1_000_000, 10_000_000):
        yield {"num_items": num_items}, partial(race, target, num_items)


def race(target: Target, num_items: int) -> Row:
    codes = torch.from_numpy(random_codes(num_items, LEVEL_SIZES))
    rows = DeviceRows.of(codes.to(target.device), LEVEL_SIZES, None, None, False)
    want = SidTrie.build(codes, LEVEL_SIZES)
    built = build_on_device(rows)
    assert built is not None
    assert built.fingerprint == want._handle.fingerprint, "other bytes than the host's"
    image, device = _C.DeviceImage.of_trie(built), torch.device(target.device)
    return {
        "bytes": want.nbytes,
        "uploaded_bytes": image.nbytes,
        "device": target.from_the_host(partial(build_on_device, rows), repeats=3),
        "host": target.from_the_host(partial(SidTrie.build, codes, LEVEL_SIZES), repeats=3),
        "upload": target.from_the_host(partial(Uploaded.upload, image, device), repeats=3),
    }
