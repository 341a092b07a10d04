"""Operators and their implementations: one meaning, several backends, the choice made once.

`ops/<name>.py` binds `OPERATOR` and holds the public function `<name>`. The rest of an operator is
found by its name, so a new kernel is one new file and nothing above it changes:

    kernels/<backend>/<name>.py    binds IMPLEMENTATION
    kernels/torch/<name>.py        the reference: what the operator means
    testing/cases/<name>.py        inputs on which every implementation must agree with it
    benchmarks/bench_<name>.py     its speed

A backend named by `backend=`, by `use_backend` or by ONESEARCH_BACKEND never falls back to another
one.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from onesearch_fast.errors import BackendUnavailable, invalid

REFERENCE = "torch"

# Best first. Only these are tried when no backend is named.
_ORDER = {"cpu": ("cpu", REFERENCE), "cuda": ("cuda", "triton", REFERENCE)}

_named: ContextVar[str | None] = ContextVar(
    "onesearch_backend", default=os.environ.get("ONESEARCH_BACKEND") or None
)


@dataclass(frozen=True)
class Tolerance:
    """|got - want| <= absolute + relative * |want|."""

    relative: float
    absolute: float


@dataclass(frozen=True, eq=False)
class Operator:
    """What an operator takes and gives, whoever computes it.

    Attributes:
        name: the stem of every file, function and benchmark that belongs to it.
        axes: the named axes of each tensor argument and output.
        dtypes: dtypes of the main input; all else has a fixed dtype.
        tolerance: how far scores may lie from the reference, by input dtype.
        exact: outputs that equal the reference in every bit; ranked ids may differ only where
            scores tie.
    """

    name: str
    axes: Mapping[str, tuple[str, ...]]
    dtypes: tuple[torch.dtype, ...]
    tolerance: Mapping[torch.dtype, Tolerance]
    exact: tuple[str, ...]

    @property
    def function(self) -> Callable[..., Any]:
        """The public function, `ops/<name>.py: <name>`."""
        function: Callable[..., Any] = getattr(
            importlib.import_module(f"onesearch_fast.ops.{self.name}"), self.name
        )
        return function

    @property
    def cases(self) -> ModuleType:
        """The module of its test cases, `testing/cases/<name>.py`."""
        return importlib.import_module(f"onesearch_fast.testing.cases.{self.name}")


@dataclass(frozen=True, eq=False)
class Implementation:
    """One backend's function for one operator; all functions of an operator share one signature.

    `why_not()` is None when the function can run on this machine, otherwise the reason as a
    sentence. `fixed` makes a form of the function for graphs, in which what is no tensor lies in
    memory that stays where it is; None where there is none.
    """

    backend: str
    device_types: tuple[str, ...]
    dtypes: tuple[torch.dtype, ...]
    why_not: Callable[[], str | None]
    function: Callable[..., None]
    fixed: Callable[..., Any] | None = None


def operators() -> tuple[Operator, ...]:
    """Every operator, by name."""
    return tuple(module.OPERATOR for module in _modules_in("onesearch_fast.ops"))


def backends() -> tuple[str, ...]:
    """Every backend that has a folder in `kernels/`, whether it can run here or not."""
    folder = importlib.import_module("onesearch_fast.kernels")
    return tuple(sorted(module.name for module in pkgutil.iter_modules(folder.__path__)))


def backends_of(operator: Operator) -> tuple[str, ...]:
    """The backends that have a kernel of the operator, whether it can run here or not."""
    kernels = Path(__file__).parent / "kernels"
    return tuple(name for name in backends() if (kernels / name / f"{operator.name}.py").is_file())


def gpu_why_not() -> str | None:
    """None when torch can use a GPU, otherwise the reason as a sentence."""
    if torch.version.cuda is None:
        return f"this torch ({torch.__version__}) was built without CUDA"
    if not torch.cuda.is_available():
        return "torch sees no CUDA device"
    return None


def _modules_in(package: str) -> Iterator[ModuleType]:
    folder = importlib.import_module(package)
    names = sorted(module.name for module in pkgutil.iter_modules(folder.__path__))
    for name in names:
        if not name.startswith("_"):  # what operators share
            yield importlib.import_module(f"{package}.{name}")


def load(operator: Operator, backend: str) -> Implementation:
    """The implementation in `kernels/<backend>/<operator>.py`; ImportError when there is none."""
    module = importlib.import_module(f"onesearch_fast.kernels.{backend}.{operator.name}")
    implementation: Implementation = module.IMPLEMENTATION
    return implementation


def why_not(
    operator: Operator, backend: str, device_type: str = "cpu", dtype: torch.dtype = torch.float32
) -> str | None:
    """None when `backend` can run `operator` here on such tensors, otherwise the reason."""
    if backend not in backends():
        return f"there is no backend of this name among {', '.join(backends())}"
    if backend not in backends_of(operator):
        return f"it has no kernel of {operator.name}"
    try:
        implementation = load(operator, backend)
    except ImportError as error:
        return str(error)
    if device_type not in implementation.device_types:
        return f"it takes {', '.join(implementation.device_types)} tensors"
    if dtype not in implementation.dtypes:
        return f"it takes {', '.join(map(str, implementation.dtypes))}"
    return implementation.why_not()


def named_backend() -> str | None:
    """The backend that this thread or task, or the environment, has named for all calls."""
    return _named.get()


def select(
    operator: Operator, device_type: str, dtype: torch.dtype, backend: str | None = None
) -> Implementation:
    """The named backend's implementation, else the first of the device's order that can run here.

    Raises:
        BackendUnavailable: the named backend (or, unnamed, every backend of the device) cannot run;
            says why.
    """
    named = named_backend() if backend is None else backend
    candidates = _ORDER.get(device_type, ()) if named is None else (named,)
    reasons = {name: why_not(operator, name, device_type, dtype) for name in candidates}
    for name, reason in reasons.items():
        if reason is None:
            return load(operator, name)
    working = [name for name in backends() if why_not(operator, name, device_type, dtype) is None]
    raise invalid(
        operator.name,
        "backend",
        f"one that runs here on {device_type} tensors of {dtype} ({', '.join(working) or 'none'})",
        "no name" if named is None else repr(named),
        "; ".join(f"{name}: {reason}" for name, reason in reasons.items()),
        BackendUnavailable,
    )


@contextmanager
def use_backend(backend: str) -> Iterator[None]:
    """Names the backend for calls of this thread or task in the block; `backend=` still wins."""
    token = _named.set(backend)
    try:
        yield
    finally:
        _named.reset(token)
