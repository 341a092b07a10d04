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

if TYPE_CHECKING:
    from onesearch_fast.runtime import BackendStatus, CpuInfo, CudaInfo

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
class Diagnosis:
    """All that `doctor` found."""

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
    backends: tuple[BackendStatus, ...]
    packages: tuple[Package, ...]


def installed_version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    found = diagnose()
    if arguments.json:
        print_json(asdict(found))
    else:
        print(as_text(found))
    return 0


VERB = Verb("doctor", "what works on this machine, and why not", add_arguments, run)
