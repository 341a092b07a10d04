"""Activation functions: their names in Hugging Face configs, in torch, and in oneDNN's products."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F  # noqa: N812

from onesearch_fast.models.config import ConfigReader


@dataclass(frozen=True)
class Activation:
    """An elementwise function.

    Attributes:
        name: in `ops.int8_linear`.
        function: in torch.
        fused: its name and algorithm as the end of a oneDNN product; None where it has none.
    """

    name: str
    function: Callable[[torch.Tensor], torch.Tensor]
    fused: tuple[str, str] | None


def _quick_gelu(x: torch.Tensor) -> torch.Tensor:
    return x * torch.sigmoid(1.702 * x)


GELU = Activation("gelu", F.gelu, ("gelu", "none"))
GELU_TANH = Activation("gelu_tanh", partial(F.gelu, approximate="tanh"), ("gelu", "tanh"))
SILU = Activation("silu", F.silu, ("swish", ""))

# "gelu_python" and the like differ from their namesakes in speed alone.
_SERVED = {
    "gelu": GELU,
    "gelu_python": GELU,
    "gelu_new": GELU_TANH,
    "gelu_fast": GELU_TANH,
    "gelu_accurate": GELU_TANH,
    "gelu_pytorch_tanh": GELU_TANH,
    "quick_gelu": Activation("quick_gelu", _quick_gelu, None),
    "relu": Activation("relu", F.relu, ("relu", "")),
    "silu": SILU,
    "swish": SILU,
}


def read_activation(read: ConfigReader, key: str, default: str) -> Activation:
    """The function that a Hugging Face config names at `key`."""
    return _SERVED[read.one_of(key, _SERVED, default)]
