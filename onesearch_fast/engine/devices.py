"""What all engines of one device share."""

from __future__ import annotations

import torch


def wait_for(device: torch.device) -> None:
    """Returns when a GPU has done all that it was given, on any stream; at once elsewhere."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
