"""Several processes that train one model: each runs a share of every step's rows.

Gradients are summed after the backward passes of a step, so that any number of passes and parts
costs one exchange. Without a process group all of this does nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from itertools import compress

import torch
from torch import distributed


def join() -> None:
    """Joins the processes that `torchrun` or accelerate has started; alone, does nothing."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not _active():
        from accelerate import PartialState

        PartialState(cpu=not torch.cuda.is_available())


def world_size() -> int:
    return distributed.get_world_size() if _active() else 1


def rank() -> int:
    return distributed.get_rank() if _active() else 0


def barrier() -> None:
    if _active():
        distributed.barrier()


def sum_gradients(parameters: Iterable[torch.nn.Parameter]) -> None:
    """Adds up every gradient over all processes, in one buffer per dtype.

    A parameter that has none in any process keeps none: optimisers would decay it for a zero.
    """
    if not _active():
        return
    grouped: dict[torch.dtype, list[torch.nn.Parameter]] = {}
    for parameter in _used([one for one in parameters if one.requires_grad]):
        grouped.setdefault(parameter.dtype, []).append(parameter)
    for group in grouped.values():
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in group]
        buffer = torch.cat([gradient.flatten() for gradient in gradients])
        distributed.all_reduce(buffer)
        pieces = torch.split(buffer, [gradient.numel() for gradient in gradients])
        for parameter, piece in zip(group, pieces, strict=True):
            parameter.grad = piece.view_as(parameter)


def _used(parameters: list[torch.nn.Parameter]) -> Iterator[torch.nn.Parameter]:
    """Those that have a gradient in any process, in the same order in all of them."""
    if not parameters:
        return
    own = [parameter.grad is not None for parameter in parameters]
    counts = torch.tensor(own, dtype=torch.int32, device=parameters[0].device)
    distributed.all_reduce(counts)
    yield from compress(parameters, counts.tolist())


def total(value: torch.Tensor) -> torch.Tensor:
    """The sum over all processes."""
    if _active():
        distributed.all_reduce(value)
    return value


def latest(seconds: float) -> float:
    """The largest value of all processes: what they agree the time is."""
    if not _active():
        return seconds
    value = torch.tensor(seconds, dtype=torch.float64)
    if distributed.get_backend() == "nccl":
        value = value.cuda()
    distributed.all_reduce(value, distributed.ReduceOp.MAX)
    return float(value)


def _active() -> bool:
    return distributed.is_available() and distributed.is_initialized()
