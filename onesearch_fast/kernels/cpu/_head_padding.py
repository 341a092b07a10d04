"""Attention over head sizes that the native core does not take as they are."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812

# The native core takes multiples of this.
ALIGNMENT = 8


def with_padded_heads(
    attend: Callable[..., None], out: torch.Tensor, *tensors: torch.Tensor | None
) -> None:
    """Runs `attend(*tensors, out)` over copies whose heads are filled up with zeros.

    tensors: query [batch, beam, head, head_dim] and others [..., head_dim] or None; out
    [batch, beam, head * head_dim]. Zeros add nothing to a score and are cut off what is mixed.
    """
    query = tensors[0]
    assert query is not None
    head_dim = query.shape[3]
    missing = (0, -head_dim % ALIGNMENT)
    wide = [None if tensor is None else F.pad(tensor, missing) for tensor in tensors]
    mixed = F.pad(query, missing)
    attend(*wide, mixed.flatten(2))
    out.copy_(mixed[..., :head_dim].flatten(2))
