"""Checks that operators share: what their native side cannot see, or needs to be chosen by."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from onesearch_fast.errors import invalid
from onesearch_fast.registry import Operator


def check_main(operator: Operator, argument: str, tensor: torch.Tensor) -> None:
    """The main input, as far as the choice of an implementation needs it."""
    check_tensor(operator, argument, tensor)
    if tensor.dtype not in operator.dtypes:
        wanted, remedy = " or ".join(map(str, operator.dtypes)), "convert it with .to(dtype)"
        raise invalid(operator.name, argument, wanted, tensor.dtype, remedy, TypeError)
    _check_axes(operator, argument, tensor)


def check_integers(operator: Operator, argument: str, tensor: torch.Tensor) -> None:
    """Integers of any width, with the axes of the argument."""
    check_tensor(operator, argument, tensor)
    if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype is torch.bool:
        raise invalid(operator.name, argument, "integers", tensor.dtype, kind=TypeError)
    _check_axes(operator, argument, tensor)


def check_tensor(operator: Operator, argument: str, tensor: object) -> None:
    """Something with a shape and a dtype."""
    if not isinstance(tensor, torch.Tensor):
        remedy = "use torch.as_tensor"
        raise invalid(operator.name, argument, "a torch.Tensor", type(tensor), remedy, TypeError)


def check_result(operator: Operator, out: object, kind: type) -> None:
    """Memory for several outputs, each of which the native side checks."""
    if not isinstance(out, kind):
        raise invalid(operator.name, "out", kind.__name__, type(out), kind=TypeError)


def check_values(operator: Operator, **tensors: torch.Tensor | None) -> None:
    """Refuses gradients that would be lost, and lazy negation, whose memory holds the opposite."""
    sound = True
    try:
        for tensor in tensors.values():
            if tensor is not None and (tensor.requires_grad or tensor.is_neg()):
                sound = False
    except AttributeError:  # of what is no tensor, which _refuse_values names
        sound = False
    if not sound:
        _refuse_values(operator, tensors)


def _check_axes(operator: Operator, argument: str, tensor: torch.Tensor) -> None:
    axes = operator.axes[argument]
    if tensor.ndim != len(axes):
        shape = tuple(tensor.shape)
        raise invalid(operator.name, argument, f"shape [{', '.join(axes)}]", shape)


def _refuse_values(operator: Operator, tensors: Mapping[str, torch.Tensor | None]) -> None:
    """Says which; apart, so that a call that is sound pays for no names."""
    for argument, tensor in tensors.items():
        if tensor is None:
            continue
        check_tensor(operator, argument, tensor)
        if tensor.requires_grad:
            remedy = "pass .detach(), or call it under torch.no_grad()"
            expected = "a tensor that does not require grad"
            raise invalid(operator.name, argument, expected, "one that does", remedy)
        if tensor.is_neg():
            expected, remedy = "a tensor as it lies in memory", "pass .resolve_neg()"
            raise invalid(operator.name, argument, expected, "a negated view", remedy)
