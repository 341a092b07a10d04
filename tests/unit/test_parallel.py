"""Sums over processes: of what has a gradient somewhere, and of nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import distributed, multiprocessing, nn

from onesearch_fast.train import parallel


def _gradients(rank: int, folder: str) -> None:
    """One of two processes; the parameters' names say who has a gradient of them."""
    store = distributed.FileStore(f"{folder}/store", 2)
    distributed.init_process_group("gloo", store=store, rank=rank, world_size=2)
    dtypes = {"both": torch.float32, "first": torch.float32, "second": torch.bfloat16, "none": None}
    parameters = {name: nn.Parameter(torch.zeros(2, dtype=dtype)) for name, dtype in dtypes.items()}
    for name in ("both", "first") if rank == 0 else ("both", "second"):
        parameters[name].grad = torch.full_like(parameters[name], rank + 1)
    parallel.sum_gradients(parameters.values())
    torch.save({name: one.grad for name, one in parameters.items()}, f"{folder}/{rank}")
    distributed.destroy_process_group()


@pytest.mark.skipif(not distributed.is_gloo_available(), reason="torch is without gloo")
def test_what_nobody_reads_has_no_gradient(tmp_path: Path) -> None:
    multiprocessing.start_processes(_gradients, (str(tmp_path),), 2, start_method="fork")
    for rank in (0, 1):
        found = torch.load(tmp_path / str(rank))
        assert found["none"] is None
        summed = {"both": 3.0, "first": 1.0, "second": 2.0}
        for name, value in summed.items():
            assert found[name].tolist() == [value, value], (rank, name)
