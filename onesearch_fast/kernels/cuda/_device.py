"""What the CUDA backend needs to run, and what it keeps on a device: tries, changes, filters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, WeakValueDictionary, ref

import torch

from onesearch_fast import _C
from onesearch_fast.registry import gpu_why_not

if TYPE_CHECKING:
    from onesearch_fast.index.item_filter import Searched


@cache
def why_not() -> str | None:
    """None when the native kernels can run here."""
    return gpu_why_not() or _C.cuda_info()["why_not"]


@dataclass(frozen=True, eq=False)
class Uploaded:
    """An image and the device memory that holds its bytes."""

    image: _C.DeviceImage
    memory: torch.Tensor

    @classmethod
    def upload(cls, image: _C.DeviceImage, device: torch.device) -> Uploaded:
        """One transfer."""
        memory = torch.empty(image.nbytes, dtype=torch.uint8, device=device)
        memory.copy_(torch.from_numpy(image.pack(memory.data_ptr())))
        return cls(image, memory)


# Tries by their content: the snapshots of one generation share theirs.
_tries: WeakValueDictionary[tuple[int, torch.device], Uploaded] = WeakValueDictionary()
# By native catalogue or filter, as long as that lives.
_of_owner: WeakKeyDictionary[Any, dict[torch.device, tuple[Uploaded, ...]]] = WeakKeyDictionary()

_Handles = tuple[tuple[_C.Catalogue, _C.ItemFilter | None], ...]


def slots_on(requests: Sequence[Searched], device: torch.device) -> torch.Tensor:
    """uint8 [batch, bytes], on the device: what each request searches, as the kernel reads it.

    The same tensor for the same requests while they are among the last 64 kinds. What it points to
    lives at least as long as the work that the current stream has been given with it.
    """
    handles = tuple((trie._handle, None if own is None else own._handle) for trie, own in requests)
    table = _table_of(handles, device)
    if device.type == "cuda":
        table.use_on(torch.cuda.current_stream(device))
    return table.slots


_MOST_TABLES = 64
_TableKey = tuple[torch.device, tuple[tuple[int, int], ...]]


@dataclass(frozen=True, eq=False)
class _SlotTable:
    """Slots, and what must live for them; it goes with the first catalogue or filter that does."""

    slots: torch.Tensor
    keeps: tuple[Uploaded, ...]
    watches: tuple[ref[Any], ...]
    streams: set[int] = field(default_factory=set)

    def use_on(self, stream: torch.cuda.Stream) -> None:
        """Keeps the memory from others until the stream is done with it, once it is given up."""
        if stream.cuda_stream in self.streams:
            return
        self.streams.add(stream.cuda_stream)
        for tensor in (self.slots, *(block.memory for block in self.keeps)):
            tensor.record_stream(stream)


# By the identities of catalogues and filters, the last used at the end. Callbacks of the garbage
# collector take from it at any time, so every change is a single operation of the dictionary.
_tables: dict[_TableKey, _SlotTable] = {}


def _table_of(handles: _Handles, device: torch.device) -> _SlotTable:
    key = (device, tuple((id(catalogue), id(own)) for catalogue, own in handles))
    table = _tables.pop(key, None) or _make_table(key, handles)
    _tables[key] = table
    if len(_tables) > _MOST_TABLES:
        for oldest in list(_tables)[:-_MOST_TABLES]:
            _tables.pop(oldest, None)
    return table


def _make_table(key: _TableKey, handles: _Handles) -> _SlotTable:
    device = key[0]
    images: list[tuple[_C.DeviceImage, _C.DeviceImage, _C.DeviceImage | None]] = []
    keeps: tuple[Uploaded, ...] = ()
    for catalogue, item_filter in handles:
        trie, changes = _uploaded(catalogue, device, _upload_catalogue)
        keeps += (trie, changes)
        allowed = None
        if item_filter is not None:
            (own,) = _uploaded(item_filter, device, _upload_filter)
            keeps += (own,)
            allowed = own.image
        images.append((trie.image, changes.image, allowed))
    slots = torch.from_numpy(_C.beam_step_slots(images)).to(device)
    owners = {owner for pair in handles for owner in pair if owner is not None}
    watches = tuple(ref(owner, lambda _: _tables.pop(key, None)) for owner in owners)
    return _SlotTable(slots, keeps, watches)


def _uploaded(
    owner: Any, device: torch.device, upload: Callable[[Any, torch.device], tuple[Uploaded, ...]]
) -> tuple[Uploaded, ...]:
    of_device = _of_owner.setdefault(owner, {})
    if device not in of_device:
        of_device[device] = upload(owner, device)
    return of_device[device]


def _upload_catalogue(catalogue: _C.Catalogue, device: torch.device) -> tuple[Uploaded, ...]:
    base = (_C.base_of(catalogue), device)
    trie = _tries.get(base)
    if trie is None:
        trie = _tries[base] = Uploaded.upload(_C.DeviceImage.of_trie(catalogue), device)
    return trie, Uploaded.upload(_C.DeviceImage.of_changes(catalogue), device)


def _upload_filter(item_filter: _C.ItemFilter, device: torch.device) -> tuple[Uploaded, ...]:
    return (Uploaded.upload(_C.DeviceImage.of_filter(item_filter), device),)
