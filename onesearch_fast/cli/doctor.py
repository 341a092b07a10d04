"""`doctor`: what works on this machine, and why not where something does not."""

from __future__ import annotations

import argparse
import platform
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import TYPE_CHECKING

import onesearch_fast
from onesearch_fast.cli._result import add_json, print_json
from onesearch_fast.cli.main import Verb
from onesearch_fast.errors import complaint

if TYPE_CHECKING:
    from onesearch_fast.runtime import BackendStatus, CpuInfo, CudaInfo

_VARIABLE = "ONESEARCH_BACKEND"

# The packages of the extras `serve` and `train`, by what they are needed for.
NEEDED_FOR = {
    "transformers": "training, Hugging Face checkpoints and text encoders",
    "tokenizers": "prompts",
    "safetensors": "served folders and codebooks",
    "pyarrow": "item tables and parquet files",
    "pyahocorasick": "keywords in texts",
    "accelerate": "training",
    "faiss-cpu": "mining pairs, reports of SIDs",
    "scikit-learn": "the TF-IDF text encoder",
    "scipy": "mining pairs, refitting codebooks",
    "threadpoolctl": "the TF-IDF text encoder, the same bits for any number of threads",
    "bm25s": "the BM25 baseline",
    "rich": "progress bars",
    "matplotlib": "plots",
}


@dataclass(frozen=True)
class Package:
    """An optional package: its version, None when it is not installed."""

    name: str
    version: str | None
    needed_for: str


@dataclass(frozen=True)
class NamedBackend:
    """What ONESEARCH_BACKEND names for every operator; why_not where it is no backend's name."""

    name: str
    why_not: str | None


@dataclass(frozen=True)
class Diagnosis:
    """All that `doctor` found; named_backend is None where each operator takes its best."""

    version: str
    python: str
    system: str
    torch: str
    numpy: str
    threads: int
    shares_threads_with_torch: bool
    cpu: CpuInfo
    gpu_why_not: str | None
    cuda: CudaInfo
    named_backend: NamedBackend | None
    backends: tuple[BackendStatus, ...]
    packages: tuple[Package, ...]


def installed_version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def named_backend() -> NamedBackend | None:
    from onesearch_fast import registry

    name, allowed = registry.named_backend(), registry.backends()
    if name is None or name in allowed:
        return None if name is None else NamedBackend(name, None)
    expected, remedy = f"one of {', '.join(allowed)}", "every operator refuses it: unset it"
    return NamedBackend(name, complaint("doctor", _VARIABLE, expected, repr(name), remedy))


def diagnose() -> Diagnosis:
    from onesearch_fast import runtime

    return Diagnosis(
        version=onesearch_fast.__version__,
        python=platform.python_version(),
        system=f"{platform.system()} {platform.release()}",
        torch=str(installed_version("torch")),
        numpy=str(installed_version("numpy")),
        threads=runtime.get_num_threads(),
        shares_threads_with_torch=runtime.shares_threads_with_torch(),
        cpu=runtime.cpu_info(),
        gpu_why_not=runtime.gpu_why_not(),
        cuda=runtime.cuda_info(),
        named_backend=named_backend(),
        backends=runtime.backends(),
        packages=tuple(
            Package(name, installed_version(name), use) for name, use in NEEDED_FOR.items()
        ),
    )


def as_text(found: Diagnosis) -> str:
    features = " ".join(found.cpu.features)
    whose = "torch's" if found.shares_threads_with_torch else "apart from torch's"
    lines = [
        f"onesearch_fast {found.version}, Python {found.python}, {found.system}",
        f"torch {found.torch}, numpy {found.numpy}",
        f"CPU  {found.cpu.kernels} kernels, threads: {found.threads}, {whose}",
        f"     bfloat16 attention: {found.cpu.bfloat16_attention}",
        f"     {found.cpu.architecture}: {features}",
        f"GPU  {found.gpu_why_not or 'ready'}",
        f"     native CUDA library: {found.cuda.why_not or ', '.join(found.cuda.devices)}",
        *_named_lines(found.named_backend),
        "",
    ]
    lines += [
        f"{status.operator}, backend {status.backend}: {status.why_not or 'ready'}"
        for status in found.backends
    ]
    lines.append("")
    lines += [
        f"{package.name:<16}{package.version or 'missing':<12}{package.needed_for}"
        for package in found.packages
    ]
    return "\n".join(lines)


def _named_lines(named: NamedBackend | None) -> list[str]:
    if named is None:
        return []
    return [f"warning: {named.why_not}" if named.why_not else f"{_VARIABLE}: {named.name}"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    found = diagnose()
    if arguments.json:
        print_json(asdict(found))
    else:
        print(as_text(found))
    named = found.named_backend
    return 0 if named is None or named.why_not is None else 1


VERB = Verb("doctor", "what works on this machine, and why not", add_arguments, run)
