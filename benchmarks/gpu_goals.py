"""What an H100 is to reach, and whether the rows of a report show it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Row = dict[str, Any]


@dataclass(frozen=True)
class Goal:
    """A number in the rows of one stage, and the bound that it is to keep.

    Attributes:
        label: what the rows say of themselves that `value` is taken from, all of them as one.
        bound: the most that `value` may be; the least where `at_least`.
        reference: what others were reported to need, or what the hardware allows.
    """

    what: str
    stage: str
    label: Row
    value: Callable[[Row], float]
    bound: float
    unit: str
    reference: str
    at_least: bool = False

    def told(self, stages: Mapping[str, Sequence[Row]]) -> str:
        """A line: the number, its bound, and whether it is kept."""
        row: Row = {}
        for one in stages.get(self.stage, ()):
            row |= one if self.label.items() <= one.items() else {}
        bound = f"{'at least' if self.at_least else 'at most'} {self.bound:g} {self.unit}"
        if self.reference:
            bound += f"; {self.reference}"
        try:
            value = self.value(row)
        except (KeyError, ValueError):
            return f"{self.what}: not measured ({bound})"
        kept = value >= self.bound if self.at_least else value <= self.bound
        return f"{self.what}: {value:.3g} {self.unit}, {'reached' if kept else 'MISSED'} ({bound})"


def microseconds(name: str) -> Callable[[Row], float]:
    return lambda row: float(row[name]["median_us"])


def milliseconds(name: str) -> Callable[[Row], float]:
    return lambda row: float(row[name]["median_us"]) / 1e3


def times_faster(ours: str, rivals: str, end: str = "") -> Callable[[Row], float]:
    """Than the fastest of the rivals, whose names begin and end so."""

    def value(row: Row) -> float:
        theirs = [
            times["median_us"]
            for name, times in row.items()
            if name.startswith(rivals) and name.endswith(end)
        ]
        return float(min(theirs) / row[ours]["median_us"])

    return value


def share(row: Row) -> float:
    return 100 * float(sum(row["parts of the whole"].values()))


def steps() -> Iterator[Goal]:
    floors = {(8, 256): (15, "floor 6.5"), (1, 256): (10, "floor 5"), (1, 1024): (14, "floor 6")}
    for level in (1, 2):
        for (batch, num_beams), (bound, floor) in floors.items():
            what = f"step at level {level}, B{batch} W{num_beams}"
            label = {"level": level, "batch": batch, "num_beams": num_beams}
            time = microseconds("cuda, graphed")
            yield Goal(what, "steps", label, time, bound, "us", f"{floor} us")
        label = {"level": level, "batch": 8, "num_beams": 256}
        faster = times_faster("cuda, graphed", "STATIC", "graphed")
        what = f"step at level {level}, B8 W256, against STATIC"
        yield Goal(what, "steps", label, faster, 10, "times", "", at_least=True)


def attention() -> Iterator[Goal]:
    nvidia, cascade = "NVIDIA 28.4 us, floor 12.5 us", "FlashInfer cascade 84-91 us on an L20"
    shapes = ((4, 1000, 18, nvidia), (1, 128, 12, cascade), (1, 512, 12, cascade))
    for batch, prompt, bound, reference in shapes:
        sizes = {"batch": batch, "beams": 256, "prompt": prompt, "heads": 16, "kv_heads": 8}
        label = {"operator": "beam_attention", **sizes, "head_dim": 128}
        what = f"beam_attention, B{batch} W256 context {prompt}"
        time = microseconds("ours, with own tokens")
        yield Goal(what, "operators", label, time, bound, "us", reference)


def bags() -> Iterator[Goal]:
    what, label = "sid_embedding_bag, 64 x 200", {"operator": "sid_embedding_bag", "rival": "torch"}
    yield Goal(what, "operators", label, microseconds("ours"), 35, "us", "floor 20-25 us")
    faster = times_faster("ours", "torch")
    yield Goal(f"{what}, against torch", "operators", label, faster, 3, "times", "", at_least=True)


def searches() -> Iterator[Goal]:
    shapes = (
        *(
            (1000, 1, 10, "NVIDIA 17.6, SGLang 33.5 ms"),
            (1000, 8, 62, "NVIDIA 93.2, SGLang 199 ms"),
        ),
        *((5000, 1, 34, "NVIDIA 42.3 ms"), (5000, 8, 250, "NVIDIA 308 ms")),
    )
    for prompt, batch, bound, reference in shapes:
        what = f"Qwen3-1.7B, W256, context {prompt}, batch {batch}"
        label = {"model": "Qwen3-1.7B", "prompt": prompt, "batch": batch, "num_beams": 256}
        yield Goal(what, "searches", label, milliseconds("whole"), bound, "ms", reference)
        what += ", selection and attention"
        yield Goal(what, "searches", label, share, 20, "%", "NVIDIA about 30 %")
    for model in ("Qwen3-0.6B", "BART-base"):
        label = {"model": model, "rival": "transformers generate", "num_beams": 512}
        faster = times_faster("ours", "theirs")
        what = f"{model}, W512, context 512, against generate"
        yield Goal(what, "searches", label, faster, 15, "times", "", at_least=True)


GOALS = (*steps(), *attention(), *bags(), *searches())
