"""What this machine offers: threads, instruction sets, backends, GPU."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

from onesearch_fast import _C, registry
from onesearch_fast.errors import invalid


def set_num_threads(count: int) -> None:
    """Sets how many threads the native core may use, the calling one included: 1 to 1024.

    The default is ONESEARCH_NUM_THREADS, else the processors this process may run on. While it is
    the number of `torch.set_num_threads` as well, operators run on torch's threads, which spin on
    the processors between its products; searches are fastest then.
    """
    if not isinstance(count, int) or isinstance(count, bool):
        raise invalid("set_num_threads", "count", "an integer", repr(count), kind=TypeError)
    _C.set_num_threads(count)


def get_num_threads() -> int:
    """How many threads the native core may use, the calling one included."""
    return _C.get_num_threads()


def shares_threads_with_torch() -> bool:
    """Whether the native core runs on torch's threads when it is called from this one."""
    import_module("onesearch_fast.kernels.cpu")
    return _C.uses_borrowed_threads()


@dataclass(frozen=True)
class CpuInfo:
    """The processor as the native core sees it.

    Attributes:
        architecture: "x86_64", "aarch64", ...
        features: instruction set extensions that may be used here, oldest first.
        kernels: the level of instruction sets that the native kernels were chosen for.
        bfloat16_attention: what multiplies bfloat16 in attention: "amx_bf16" (unless
            ONESEARCH_CPU_AMX is 0), "avx512_bf16", or `kernels` where the processor has neither.
    """

    architecture: str
    features: tuple[str, ...]
    kernels: str
    bfloat16_attention: str


def cpu_info() -> CpuInfo:
    """The processor and the kernels chosen for it."""
    info: dict[str, Any] = dict(_C.cpu_info())
    return CpuInfo(
        info["architecture"],
        tuple(info["features"]),
        info["kernels"],
        info["bfloat16_attention"],
    )


def gpu_why_not() -> str | None:
    """None when a GPU can be used, otherwise the reason as a sentence."""
    return registry.gpu_why_not()


@dataclass(frozen=True)
class CudaInfo:
    """What the native CUDA library finds: `why_not` is None, or why it finds nothing."""

    why_not: str | None
    driver_version: str | None
    devices: tuple[str, ...]


def cuda_info() -> CudaInfo:
    """Asks the native CUDA library, which is opened by the first call."""
    found = _C.cuda_info()
    devices = (
        f"{device['name']} (sm_{device['compute_capability'].replace('.', '')}, "
        f"{device['memory_bytes'] / 2**30:.0f} GiB)"
        for device in found["devices"]
    )
    return CudaInfo(found["why_not"], found["driver_version"], tuple(devices))


@dataclass(frozen=True)
class BackendStatus:
    """Whether one backend can run one operator here: `why_not` is None, or the reason."""

    operator: str
    backend: str
    why_not: str | None


def backends() -> tuple[BackendStatus, ...]:
    """Every operator with every backend, and why not where a backend cannot run here."""
    devices = {"cpu": "cpu", registry.REFERENCE: "cpu"}  # of the others a GPU
    return tuple(
        BackendStatus(
            operator.name,
            backend,
            registry.why_not(operator, backend, devices.get(backend, "cuda")),
        )
        for operator in registry.operators()
        for backend in registry.backends()
    )
