"""Arguments and results of operators, moved between devices as they lie in memory."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import torch

from onesearch_fast.ops.constrained_beam_step import BeamStepResult


def on_device(value: Any, device: str | torch.device) -> Any:
    """`value` with its tensors on `device`, offsets, strides and shared elements kept.

    Takes tensors, results of operators, and dicts of arguments; anything else is returned as it is.
    """
    if isinstance(value, torch.Tensor):
        return _moved(value, device)
    if isinstance(value, BeamStepResult):
        columns = [getattr(value, field.name) for field in fields(value) if field.init]
        return BeamStepResult(*(on_device(column, device) for column in columns))
    if isinstance(value, tuple) and hasattr(value, "_fields"):  # results of several tensors
        return type(value)(*(on_device(one, device) for one in value))
    if isinstance(value, dict):
        return {name: on_device(one, device) for name, one in value.items()}
    return value


def _moved(tensor: torch.Tensor, device: str | torch.device) -> torch.Tensor:
    storage = tensor.untyped_storage()
    whole = torch.empty(0, dtype=tensor.dtype, device=tensor.device).set_(storage)
    return whole.to(device, copy=True).as_strided(
        tensor.size(), tensor.stride(), tensor.storage_offset()
    )
