"""Times on a GPU, and what takes their place where a dry run has none."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

import torch

Work = Callable[[], Any]

# Calls that the host makes while the device is held up for so many cycles, a millisecond: it would
# else wait for the host between the first event and the work, which is shorter than a launch.
_CALLS_AHEAD, _HELD_CYCLES = 25, 2_000_000


@dataclass(frozen=True)
class Target:
    """What is measured: a GPU; or, to test the script itself, tiny sizes on the CPU."""

    dry: bool

    @property
    def device(self) -> str:
        return "cpu" if self.dry else "cuda"

    @property
    def backends(self) -> tuple[str, ...]:
        return ("cpu",) if self.dry else ("cuda", "triton")

    def wait(self) -> None:
        if not self.dry:
            torch.cuda.synchronize()

    def graphed(self, work: Work) -> Work:
        """A graph of it, warmed up on a stream of its own as captures need."""
        if self.dry:
            return work
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        with torch.cuda.stream(stream):
            for _ in range(3):
                work()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            work()
        return graph.replay

    def microseconds(self, work: Work, repeats: int = 200, ahead: bool = True) -> dict[str, float]:
        """Median and 99th percentile of the time between two events around a call.

        ahead: of the device alone, all launches being there when it begins; else with the host's
        part in it, as of a caller who waits for every answer.
        """
        if self.dry:
            return self._host_times(work, 1)
        for _ in range(min(20, repeats)):
            work()
        event: Any = partial(torch.cuda.Event, enable_timing=True)
        events = [(event(), event()) for _ in range(repeats)]
        for number, (begin, end) in enumerate(events):
            if ahead and number % _CALLS_AHEAD == 0:
                torch.cuda._sleep(_HELD_CYCLES)  # type: ignore[no-untyped-call]
            begin.record()
            work()
            end.record()
            if not ahead:
                torch.cuda.synchronize()
        torch.cuda.synchronize()
        return _summary([1e3 * begin.elapsed_time(end) for begin, end in events])

    def from_the_host(self, work: Work, repeats: int = 8) -> dict[str, float]:
        """The same by the host's clock: from the call until its answer lies on the device."""
        if self.dry:
            return self._host_times(work, 1)
        self._host_times(work, 2)
        return self._host_times(work, repeats)

    def _host_times(self, work: Work, repeats: int) -> dict[str, float]:
        times = []
        for _ in range(repeats):
            self.wait()
            started = time.perf_counter()
            work()
            self.wait()
            times.append(1e6 * (time.perf_counter() - started))
        return _summary(times)


def compiled_variants() -> dict[str, int]:
    """How often Triton has compiled each kernel of ours in this process."""
    modules = [
        module
        for name, module in sys.modules.items()
        if name.startswith("onesearch_fast.kernels.triton.")
    ]
    found = [one for module in modules for one in vars(module).items()]
    counts = {
        name: sum(len(cache[0]) for cache in kernel.device_caches.values())
        for name, kernel in found
        if hasattr(kernel, "device_caches")
    }
    return {name: count for name, count in counts.items() if count}


def _summary(times: list[float]) -> dict[str, float]:
    ordered = sorted(times)
    return {"median_us": median(ordered), "p99_us": ordered[int(0.99 * len(ordered))]}
