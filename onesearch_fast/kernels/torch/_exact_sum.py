"""Sums in float64 in the one order that every backend follows: by halves."""

from __future__ import annotations

import torch


def exact_sum(terms: torch.Tensor) -> torch.Tensor:
    """Sum over the last axis: element i takes in element i + n/2, for n halved until one is left.

    terms [..., n] float64, padded with zeros to a power of two. Unlike `sum` it gives the same bits
    for every shape, thread count and device.
    """
    width = 1 << (terms.shape[-1] - 1).bit_length()
    terms = torch.nn.functional.pad(terms, (0, width - terms.shape[-1]))
    while width > 1:
        width //= 2
        terms = terms[..., :width] + terms[..., width:]
    return terms[..., 0]
