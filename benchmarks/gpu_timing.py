"""Times on a GPU, and what takes their place where a dry run has none."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch

Work = Callable[[], Any]


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
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            for _ in range(3):
                work()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            work()
        return graph.replay

    def microseconds(self, work: Work, repeats: int = 200) -> dict[str, float]:
        """Median and 99th percentile of the time between two events around a call."""
        if self.dry:
            return self._host_times(work, 1)
        for _ in range(min(20, repeats)):
            work()
        events = [
            (torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True))
            for _ in range(repeats)
        ]
        for begin, end in events:
            begin.record()
            work()
            end.record()
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


def _summary(times: list[float]) -> dict[str, float]:
    ordered = sorted(times)
    return {"median_us": median(ordered), "p99_us": ordered[int(0.99 * len(ordered))]}
