"""What a measurement ran on."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import numpy as np
import torch

import onesearch_fast


def machine() -> dict[str, Any]:
    """Processor, threads, load of the last minute, and versions, to stand in a result's JSON."""
    modules = (onesearch_fast, torch, np)
    return {
        "cpu": _cpu_name(),
        "threads": torch.get_num_threads(),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        "versions": {module.__name__: str(module.__version__) for module in modules},
    }


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
