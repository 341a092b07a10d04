"""What all engines of one device share."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager, nullcontext

import torch

_recording: dict[torch.device, threading.Lock] = {}


def recording_on(device: torch.device) -> threading.Lock:
    """Held while a CUDA graph is recorded, and while a host waits for the whole device.

    A wait for the device, which every recording begins with, ends those of other threads.
    """
    return _recording.setdefault(device, threading.Lock())


def wait_for(device: torch.device) -> None:
    """Returns when a GPU has done all that it was given, on any stream; at once elsewhere."""
    if device.type == "cuda":
        with recording_on(device):
            torch.cuda.synchronize(device)


def current(device: torch.device) -> AbstractContextManager[None]:
    """Makes a GPU the current one, which kernels are launched on whatever their tensors' is."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()
