"""The reference of `beam_attention`: keys and values expanded to every beam, in float64."""

from __future__ import annotations

import torch

from onesearch_fast import _C
from onesearch_fast.registry import Implementation


def beam_attention(
    query: torch.Tensor,
    context_key: torch.Tensor | None,
    context_value: torch.Tensor | None,
    context_length: torch.Tensor | None,
    own_key: torch.Tensor | None,
    own_value: torch.Tensor | None,
    ancestry: torch.Tensor | None,
    scale: float | None,
    out: torch.Tensor,
) -> None:
    """Writes softmax(scale * query keys^T) values of every beam and head into `out`."""
    scale = _C.check_beam_attention(
        query,
        context_key,
        context_value,
        context_length,
        own_key,
        own_value,
        ancestry,
        scale,
        out,
    )
    _, beams, heads, head_dim = query.shape
    for request in range(query.shape[0]):
        length = None if context_length is None else int(context_length[request])
        ancestors = None if ancestry is None else ancestry[request].long()
        keys, values = (
            _seen(
                None if context is None else context[request, :, :length],
                None if own is None else own[request],
                ancestors,
                beams,
            )
            for context, own in ((context_key, own_key), (context_value, own_value))
        )
        kv_heads = keys.shape[1]
        grouped = query[request].double().view(beams, kv_heads, heads // kv_heads, head_dim)
        weights = (scale * grouped @ keys.mT).softmax(-1)
        out[request] = (weights @ values).flatten(1)


def _seen(
    context: torch.Tensor | None,
    own: torch.Tensor | None,
    ancestors: torch.Tensor | None,
    beams: int,
) -> torch.Tensor:
    """What each beam of a request sees: [beam, kv_head, key, head_dim] float64."""
    parts = [] if context is None else [context.expand(beams, -1, -1, -1)]
    if own is not None and ancestors is not None:
        parts.append(own[torch.arange(len(own)), ancestors].transpose(1, 2))
    return torch.cat(parts, dim=2).double()


IMPLEMENTATION = Implementation(
    backend="torch",
    device_types=("cpu",),
    dtypes=(torch.float32, torch.bfloat16, torch.float16),
    why_not=lambda: None,
    function=beam_attention,
)
