"""The cases of each operator, one file each: `CASES`, `poisoned` outputs, and `check`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Case:
    """One input on which all implementations must agree.

    `build(dtype)` makes fresh arguments for the operator's public function, the same ones at every
    call.
    """

    name: str
    build: Callable[[torch.dtype], dict[str, Any]]
