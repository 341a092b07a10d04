"""Copies to the device of a model."""

from __future__ import annotations

import torch


def to_device(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """`tensor.to(device)` that the host need not wait for."""
    if device.type != "cuda" or not tensor.is_cpu:
        return tensor.to(device)
    # From other memory than pinned, torch waits for the copy and for all work before it.
    return tensor.pin_memory().to(device, non_blocking=True)
