"""Attention over head sizes that the native core does not take as they are."""

from __future__ import annotations

from typing import TypeVar

import torch
import torch.nn.functional as F  # noqa: N812

# The native core takes multiples of this.
ALIGNMENT = 8

Heads = TypeVar("Heads", torch.Tensor, torch.Tensor | None)


def padded(heads: Heads) -> Heads:
    """[..., head_dim], filled up with zeros, which add nothing to a score."""
    return None if heads is None else F.pad(heads, (0, -heads.shape[-1] % ALIGNMENT))


def copy_unpadded(mixed: torch.Tensor, out: torch.Tensor, head_dim: int) -> None:
    """mixed [batch, token, head, padded head_dim] -> out [batch, token, head * head_dim]."""
    out.copy_(mixed[..., :head_dim].flatten(2))
