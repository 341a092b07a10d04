"""What operators share: the checks that a choice needs, and the choice."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from onesearch_fast.errors import invalid
from onesearch_fast.registry import Operator, named_backend, select

# Operator, named backend, device type, dtype and number of axes of the main input -> what computes
# it. Many calls are shorter than a search for that.
_Key = tuple[Operator, str | None, str, torch.dtype, int]
_chosen: dict[_Key, Callable[..., None]] = {}


def choose(
    operator: Operator, argument: str, tensor: torch.Tensor, backend: str | None
) -> Callable[..., None]:
    """The function that computes what has this main input, once that was checked."""
    if not isinstance(tensor, Tensor):
        raise _no_tensor(operator, argument, tensor)
    named = named_backend() if backend is None else backend
    # Asking a device for its type takes 200 ns.
    device_type = "cpu" if tensor.is_cpu else tensor.device.type
    key = (operator, named, device_type, tensor.dtype, tensor.ndim)
    function = _chosen.get(key)
    if function is None:
        check_main(operator, argument, tensor)
        function = select(operator, device_type, tensor.dtype, backend).function
        _chosen[key] = function
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
    if not isinstance(tensor, Tensor):
        raise _no_tensor(operator, argument, tensor)


def no_result(operator: Operator, out: object, kind: type) -> TypeError:
    """Of memory that is not for several outputs; each of those the native side checks."""
    return invalid(operator.name, "out", kind.__name__, type(out), kind=TypeError)


def _no_tensor(operator: Operator, argument: str, got: object) -> TypeError:
    remedy = "use torch.as_tensor"
    return invalid(operator.name, argument, "a torch.Tensor", type(got), remedy, TypeError)


def _check_axes(operator: Operator, argument: str, tensor: torch.Tensor) -> None:
    axes = operator.axes[argument]
    if tensor.ndim != len(axes):
        shape = tuple(tensor.shape)
        raise invalid(operator.name, argument, f"shape [{', '.join(axes)}]", shape)
