"""What operators share: the checks that a choice needs, and the choice."""

from __future__ import annotations

from collections.abc import Callable

import torch

from onesearch_fast.errors import invalid
from onesearch_fast.registry import Operator, named_backend, select

# What was chosen before, of the CPU, where a call may be as short as the choice.
_chosen: dict[tuple[Operator, str | None, torch.dtype, int], Callable[..., None]] = {}


def choose(
    operator: Operator, argument: str, tensor: torch.Tensor, backend: str | None
) -> Callable[..., None]:
    """The function that computes what has this main input, once that was checked."""
    try:
        if tensor.is_cpu:
            named = named_backend() if backend is None else backend
            return _chosen[operator, named, tensor.dtype, tensor.ndim]
    except (AttributeError, KeyError, TypeError):
        pass  # of what is no tensor, or meets its checks for the first time
    check_main(operator, argument, tensor)
    function = select(operator, tensor.device.type, tensor.dtype, backend).function
    if tensor.is_cpu:
        named = named_backend() if backend is None else backend
        _chosen[operator, named, tensor.dtype, tensor.ndim] = function
    return function


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


def _check_axes(operator: Operator, argument: str, tensor: torch.Tensor) -> None:
    axes = operator.axes[argument]
    if tensor.ndim != len(axes):
        shape = tuple(tensor.shape)
        raise invalid(operator.name, argument, f"shape [{', '.join(axes)}]", shape)
