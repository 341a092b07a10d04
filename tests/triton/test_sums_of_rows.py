"""What is computed around the kernels of `sid_embedding_bag`."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

pytest.importorskip("triton", reason="triton is missing: `make triton` installs it")
from onesearch_fast.kernels.triton._sums_of_rows import rows_of


class Recorder(TorchDispatchMode):
    """The names of what torch is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.names.append(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


def test_rows_are_looked_up_without_a_copy_from_the_host() -> None:
    codes = torch.tensor([[0, 1, 2], [3, -1, 0]], dtype=torch.int32)
    rows_of(codes, (8, 4, 5))
    with Recorder() as recorder:
        rows = rows_of(codes, [8, 4, 5])
    assert rows.tolist() == [[0, 9, 14], [3, -1, 12]]
    assert not {"lift_fresh", "_to_copy", "copy_", "detach"} & set(recorder.names)
