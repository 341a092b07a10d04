"""What products with packed weights share: the activations that they end in."""

from __future__ import annotations

from onesearch_fast.errors import invalid
from onesearch_fast.registry import Operator

# By the numbers that the native core knows them by.
ACTIVATIONS = ("none", "relu", "silu", "gelu", "gelu_tanh", "quick_gelu")


def activation_number(operator: Operator, activation: str) -> int:
    if activation not in ACTIVATIONS:
        expected = f"one of {', '.join(ACTIVATIONS)}"
        raise invalid(operator.name, "activation", expected, activation)
    return ACTIVATIONS.index(activation)
