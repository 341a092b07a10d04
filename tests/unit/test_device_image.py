"""What the CUDA backend would upload, looked at without a GPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from onesearch_fast import _C
from onesearch_fast.index.live_store import LiveStore
from onesearch_fast.index.sid_trie import SidTrie
from onesearch_fast.kernels.cuda import _device
from onesearch_fast.testing.tries import random_codes

SIZES = (16, 32, 8)
CPU = torch.device("cpu")


@pytest.fixture
def trie() -> SidTrie:
    return SidTrie.build(random_codes(500, SIZES), SIZES)


def test_a_trie_is_uploaded_once(trie: SidTrie) -> None:
    first = _device.slots_on([(trie, None)] * 2, CPU)
    again = _device.slots_on([(trie, None)] * 2, CPU)
    assert again is first
    assert first.dtype == torch.uint8
    assert torch.equal(first[0], first[1])


def test_requests_get_slots_of_their_own(trie: SidTrie) -> None:
    some = trie.filter(allow=np.arange(100))
    slots = _device.slots_on([(trie, None), (trie, some)], CPU)
    assert not torch.equal(slots[0], slots[1])


def test_versions_of_a_generation_share_its_trie(tmp_path: Path) -> None:
    with LiveStore.create(tmp_path / "store", random_codes(500, SIZES), SIZES) as store:
        before = store.snapshot()
        store.delete([3])
        after = store.snapshot()
        assert _C.base_of(before._handle) == _C.base_of(after._handle)
        kept = [
            _device._uploaded(one._handle, CPU, _device._upload_catalogue)
            for one in (before, after)
        ]
        assert kept[0][0] is kept[1][0]
        assert kept[1][1].image.nbytes > kept[0][1].image.nbytes


def test_ids_and_rows_of_items_stay_behind(trie: SidTrie) -> None:
    assert 0 < _C.DeviceImage.of_trie(trie._handle).nbytes < trie.nbytes


def test_uploads_go_with_their_owner() -> None:
    before = len(_device._of_owner)
    trie = SidTrie.build(random_codes(50, SIZES, seed=9), SIZES)
    _device._uploaded(trie._handle, CPU, _device._upload_catalogue)
    assert len(_device._of_owner) == before + 1
    del trie
    assert len(_device._of_owner) == before


def test_slots_go_with_the_filter_they_point_to(trie: SidTrie) -> None:
    before = len(_device._of_owner)
    own = trie.filter(deny=[3])
    _device.slots_on([(trie, own), (trie, None)], CPU)
    tables = len(_device._tables)
    del own
    assert len(_device._of_owner) == before + 1  # the trie's
    assert len(_device._tables) == tables - 1


def test_as_many_slots_are_kept_as_said(trie: SidTrie) -> None:
    filters = [trie.filter(deny=[i]) for i in range(70)]
    first = _device.slots_on([(trie, filters[0])], CPU)
    for own in filters[1:]:
        _device.slots_on([(trie, own)], CPU)
        assert _device.slots_on([(trie, filters[0])], CPU) is first  # in use, so never the oldest
    assert len(_device._tables) == 64
    assert _device.slots_on([(trie, filters[1])], CPU) is not None


def test_the_backend_says_why_it_cannot_run(trie: SidTrie) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    assert _device.why_not()
    with pytest.raises(ValueError, match="expected a tensor on a CUDA device"):
        _C.plan_beam_step(torch.zeros(1, 1, 16), 4)
