"""Every Triton kernel compiles as it is launched, without a GPU.

The interpreter, which checks values, accepts what the compiler rejects. Here the operators run on
their cases with the launch replaced by a compilation; equal launches compile once.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
import torch

from onesearch_fast import registry
from onesearch_fast.ops import _arguments
from onesearch_fast.registry import Operator, backends_of, operators

triton = pytest.importorskip("triton", reason="triton is missing: `make triton` installs it")
from triton.backends.compiler import GPUTarget  # noqa: E402
from triton.compiler import ASTSource  # noqa: E402
from triton.runtime.jit import JITFunction  # noqa: E402

pytestmark = pytest.mark.skipif(
    triton.knobs.runtime.interpret, reason="the interpreter takes the compiler's place"
)

# Bytes of shared memory that a block may have, by architecture.
SHARED_BYTES = {80: 163 << 10, 90: 227 << 10, 100: 227 << 10}
OPERATORS = [operator for operator in operators() if "triton" in backends_of(operator)]
POINTERS = {
    torch.float32: "*fp32",
    torch.bfloat16: "*bf16",
    torch.float16: "*fp16",
    torch.int8: "*i8",
    torch.uint8: "*u8",
    torch.int16: "*i16",
    torch.int32: "*i32",
    torch.int64: "*i64",
}


class Launch(NamedTuple):
    """What a compiled kernel depends on."""

    kernel: JITFunction[Any]
    signature: tuple[tuple[str, str], ...]
    constants: tuple[tuple[str, Any], ...]
    options: tuple[tuple[str, Any], ...]
    aligned: tuple[int, ...]  # places of arguments that 16 divides, which decide how it is read

    @classmethod
    def of(cls, kernel: JITFunction[Any], values: tuple[Any, ...], named: dict[str, Any]) -> Launch:
        given = dict(zip(kernel.arg_names, values, strict=False)) | named
        options = {name: given.pop(name) for name in list(given) if name not in kernel.arg_names}
        constant = {param.name for param in kernel.params if param.is_constexpr}
        constant |= {name for name, value in given.items() if value is None}
        signature = {
            name: "constexpr" if name in constant else type_of(value)
            for name, value in given.items()
        }
        constants = {name: given[name] for name in given if name in constant}
        aligned = tuple(
            place
            for place, param in enumerate(kernel.params)
            if param.name not in constant and not param.do_not_specialize
            if is_aligned(given[param.name])
        )
        parts = (signature, constants, options)
        return cls(kernel, *(tuple(part.items()) for part in parts), aligned)

    def compile(self, architecture: int) -> None:
        attributes = {(place,): [["tt.divisibility", 16]] for place in self.aligned}
        source = ASTSource(self.kernel, dict(self.signature), dict(self.constants), attributes)
        target = GPUTarget("cuda", architecture, 32)
        compiled = triton.compile(source, target, dict(self.options))
        # The driver, which would refuse more, is not asked here.
        assert compiled.metadata.shared <= SHARED_BYTES[architecture], self


def type_of(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        return POINTERS[value.dtype]
    if isinstance(value, float):
        return "fp32"
    return "i32" if -(2**31) <= value < 2**31 else "i64"


def is_aligned(value: Any) -> bool:
    """As where torch allocates: a GPU's memory comes in blocks of 512 bytes."""
    return isinstance(value, torch.Tensor) or (isinstance(value, int) and value % 16 == 0)


def launches(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> set[Launch]:
    """The launches of all cases of an operator, none of which runs.

    Of those that differ in what 16 divides the most aligned, which holds the most in shared memory.
    """
    found: dict[Launch, Launch] = {}

    def record(
        kernel: JITFunction[Any], *values: Any, grid: Any, warmup: bool, **named: Any
    ) -> None:
        launch = Launch.of(kernel, values, named)
        alike = found.setdefault(launch._replace(aligned=()), launch)
        if len(launch.aligned) > len(alike.aligned):
            found[launch._replace(aligned=())] = launch

    monkeypatch.setattr(JITFunction, "run", record)
    # As if it took the cases' tensors, which lie on the CPU.
    monkeypatch.setattr(_arguments, "_chosen", {})
    monkeypatch.setattr(_arguments, "select", lambda *_: registry.load(operator, "triton"))
    for dtype in operator.dtypes:
        for case in operator.cases.CASES:
            operator.function(**case.build(dtype), backend="triton")
    return set(found.values())


@pytest.mark.parametrize("operator", OPERATORS, ids=lambda operator: operator.name)
def test_every_launch_compiles(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    found = sorted(launches(operator, monkeypatch), key=str)
    assert found
    # One for every architecture, and the others, which differ in types and sizes, in turn: a third
    # of the time.
    architectures = list(SHARED_BYTES)
    for architecture in architectures:
        found[0].compile(architecture)
    for i, launch in enumerate(found[1:]):
        launch.compile(architectures[i % len(architectures)])
