"""Everything that a GPU must show, in one go of at most 8 minutes: build, tests, sanitizer, times.

    python benchmarks/gpu_suite.py --build --json OUT.json

Stages run one after the other, each for itself, so that one that fails hides none behind it; each
has a time by which it ends, and what it had to leave out stands under `cut`. The JSON is written
after every stage. Times are medians of CUDA events over replays of a graph unless said otherwise,
and every rival's answer is compared with ours before it is timed. Without a GPU it says so and
exits with 2; with a failed stage it exits with 1.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache, partial
from pathlib import Path
from statistics import median
from typing import Any

import torch

ROOT = Path(__file__).parent.parent
# Seconds after the start by which each stage ends; 8 minutes in all, the last seconds for the JSON.
ENDS = {
    "build": 110,
    "tests": 230,
    "sanitizer": 290,
    "beam_attention": 315,
    "constrained_beam_step": 400,
    "shares": 415,
    "searches": 465,
}
NUM_ITEMS = 10_000_000
LEVEL_SIZES = (2048,) * 4
# batch, num_beams of the whole step on codes of 2048
STEPS = ((8, 256), (1, 256), (1, 1024), (64, 256))
# shares and whether they are a cluster: the ways to cut a step
CUTS = ((1, True), (2, True), (4, True), (8, True), (8, False), (16, False))
# batch, beams, prompt, heads, kv_heads, head_dim
ATTENTIONS = (
    (4, 256, 1000, 16, 8, 128),
    (1, 256, 1000, 16, 8, 128),
    (1, 128, 128, 16, 8, 128),
    (1, 128, 512, 16, 8, 128),
    (8, 256, 1000, 12, 12, 64),
)
OWN_STEPS = 3
# model type, (hidden, layers, heads, kv_heads, head_dim, intermediate, positions), level sizes,
# prompt, batch, beams; weights are random
QWEN3_1_7B = (2048, 28, 16, 8, 128, 6144, 8192)
QWEN3_0_6B = (1024, 28, 16, 8, 128, 3072, 8192)
BART_BASE = (768, 6, 12, 12, 64, 3072, 2048)
FIVE_LEVELS = (4096, 1024, 512, 256, 256)
SEARCHES = (
    ("bart", BART_BASE, FIVE_LEVELS, 512, 1, 512),
    ("qwen3", QWEN3_0_6B, FIVE_LEVELS, 512, 1, 512),
    ("qwen3", QWEN3_1_7B, (8192,) * 3, 1000, 1, 256),
    ("qwen3", QWEN3_1_7B, (8192,) * 3, 1000, 8, 256),
    ("qwen3", QWEN3_1_7B, (8192,) * 3, 5000, 1, 256),
)


@dataclass
class Report:
    """What the JSON file holds."""

    device: str
    versions: dict[str, str]
    stages: dict[str, Any] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    cut: list[str] = field(default_factory=list)


@dataclass
class Time:
    """What is left to a stage, and what it did not get to."""

    end: float
    cut: list[str] = field(default_factory=list)

    @property
    def left(self) -> float:
        return self.end - time.monotonic()

    def allows(self, what: object) -> bool:
        """Whether there is time for it; notes what there is none for."""
        if self.left > 0:
            return True
        self.cut.append(str(what))
        return False


def versions() -> dict[str, str]:
    import triton

    found = {"torch": torch.__version__, "cuda": str(torch.version.cuda)}
    found["triton"] = triton.__version__
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    found["driver"] = subprocess.run(query, capture_output=True, text=True).stdout.strip()
    return found


def run_program(limit: Time, *command: str) -> dict[str, Any]:
    """Runs a program from the repository's root; its last line, and how long it took."""
    started = time.perf_counter()
    done = subprocess.run(
        command, cwd=ROOT, timeout=max(limit.left, 0), capture_output=True, text=True, check=False
    )
    lines = (done.stdout + done.stderr).splitlines()
    if done.returncode != 0:
        raise RuntimeError(
            f"{' '.join(command)}: exit {done.returncode}\n" + "\n".join(lines[-40:])
        )
    return {"seconds": time.perf_counter() - started, "last_line": lines[-1] if lines else ""}


def build(limit: Time) -> dict[str, Any]:
    command = ["-m", "pip", "install", "--no-build-isolation", "--no-deps", "-q", "-e", "."]
    define = "cmake.define.ONESEARCH_CUDA=ON"
    return run_program(limit, sys.executable, *command, "-C", define)


def run_tests(limit: Time) -> dict[str, Any]:
    return run_program(limit, sys.executable, "-m", "pytest", "-q", "-x", "tests/gpu")


def run_sanitizer(limit: Time) -> dict[str, Any]:
    case = (sys.executable, __file__, "--small-case")
    options = ("--error-exitcode", "9")
    return {
        tool: run_program(limit, "compute-sanitizer", "--tool", tool, *options, *case)
        for tool in ("memcheck", "racecheck")
        if limit.allows(tool)
    }


def small_case() -> None:
    """Steps of both designs, for compute-sanitizer."""
    from onesearch_fast.ops import constrained_beam_step
    from onesearch_fast.testing.cases.constrained_beam_step import random_step, random_trie
    from onesearch_fast.testing.devices import on_device

    trie = random_trie()
    for beams, num_beams in ((8, 8), (40, 300)):
        arguments = random_step(torch.bfloat16, trie, beam_in=beams, num_beams=num_beams)
        arguments["filter"] = trie.filter(deny=[1, 2, 3])
        arguments = on_device(arguments, "cuda")
        constrained_beam_step(**arguments, backend="cuda")
        for shares, cluster in ((2, True), (4, False)):
            planned(arguments, shares, cluster)()
    torch.cuda.synchronize()


def planned(arguments: dict[str, Any], shares: int, cluster: bool) -> Callable[[], Any]:
    """A step that is cut as said, not as planned."""
    from onesearch_fast import _C
    from onesearch_fast.kernels.cuda._device import slots_on
    from onesearch_fast.ops import BeamStepResult

    logits, num_beams = arguments["logits"], arguments["num_beams"]
    batch = len(logits)
    slots = slots_on([(arguments["trie"], arguments.get("filter"))] * batch, logits.device)
    lists = batch * shares * (12 * (num_beams + 1) + 4)
    memory = torch.empty(lists, dtype=torch.uint8, device="cuda")
    out = BeamStepResult.empty(batch, num_beams, "cuda")
    names = ("logits", "node", "beam_scores", "trie", "num_beams", "level", "normalizer")
    given = [arguments[name] for name in names]

    def run() -> Any:
        _C.constrained_beam_step_cuda(
            *given, None, arguments.get("filter"), None, out, slots, shares, cluster, memory
        )
        return out

    return run


def captured(function: Callable[[], Any]) -> Callable[[], None]:
    """A graph of the function, warmed up on a stream of its own as captures need."""
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(3):
            function()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        function()
    return graph.replay


def microseconds(function: Callable[[], Any], repeats: int = 200) -> dict[str, float]:
    """Median and 99th percentile of the time between two events around a call."""
    for _ in range(20):
        function()
    events = [
        (torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True))
        for _ in range(repeats)
    ]
    for begin, end in events:
        begin.record()
        function()
        end.record()
    torch.cuda.synchronize()
    times = sorted(1e3 * begin.elapsed_time(end) for begin, end in events)
    return {"median_us": median(times), "p99_us": times[int(0.99 * repeats)]}


@cache
def catalogue() -> tuple[Any, dict[str, Any]]:
    """The trie, and STATIC's indexes on the GPU, one dense level and two, of 10M items."""
    sys.path.insert(0, str(Path(__file__).parent))
    from static_reference import StaticIndex

    from onesearch_fast.index import SidTrie
    from onesearch_fast.testing import random_codes

    codes = random_codes(NUM_ITEMS, LEVEL_SIZES)
    static = StaticIndex.build(codes, LEVEL_SIZES[0])
    indexes = {"STATIC": static, "STATIC, two dense levels": static.with_two_dense_levels()}
    on_gpu = {name: index.to("cuda") for name, index in indexes.items()}
    return SidTrie.build(codes, LEVEL_SIZES), on_gpu


@dataclass(frozen=True)
class Beams:
    """The beams that enter a level, in both numberings, on the GPU."""

    arguments: dict[str, Any]
    state: torch.Tensor

    @classmethod
    def at_level(cls, level: int, batch: int, num_beams: int) -> Beams:
        from onesearch_fast.ops import constrained_beam_step

        trie, static = catalogue()
        generator = torch.Generator().manual_seed(level)
        node = torch.zeros(batch, 1, dtype=torch.int32)
        beam_scores, state = torch.zeros(batch, 1), node.long()
        for at in range(level):
            logits = 3 * torch.randn(*node.shape, LEVEL_SIZES[at], generator=generator)
            best = constrained_beam_step(logits, node, beam_scores, trie, num_beams, at)
            node, beam_scores = best.node, best.scores
            state = static["STATIC"].state_of(at + 1, best.tokens.long(), node.long())
        logits = 3 * torch.randn(*node.shape, LEVEL_SIZES[level], generator=generator)
        arguments = {
            "logits": logits.bfloat16().cuda(),
            "node": node.cuda(),
            "beam_scores": beam_scores.cuda(),
            "trie": trie,
            "num_beams": num_beams,
            "level": level,
            "normalizer": "level",
        }
        return cls(arguments, state.cuda())


def own_steps(beams: Beams) -> Iterator[tuple[str, Callable[[], torch.Tensor]]]:
    """Name and function of each of ours, which returns scores."""
    from onesearch_fast.ops import BeamStepResult, constrained_beam_step

    given = beams.arguments
    for backend in ("cuda", "triton"):
        out = BeamStepResult.empty(len(given["logits"]), given["num_beams"], "cuda")

        def ours(backend: str = backend, out: BeamStepResult = out) -> torch.Tensor:
            return constrained_beam_step(**given, out=out, backend=backend).scores

        yield f"{backend}, eager", ours
        yield f"{backend}, graphed", ours


def static_steps(beams: Beams, compiled: bool) -> Iterator[tuple[str, Callable[[], torch.Tensor]]]:
    """STATIC's, by every index of it that takes this level in a way of its own."""
    given = beams.arguments
    _, indexes = catalogue()
    for name in list(indexes)[: 2 if given["level"] == 1 else 1]:

        def theirs(index: Any = indexes[name]) -> torch.Tensor:
            logits, num_beams, level = given["logits"], given["num_beams"], given["level"]
            step = index.step(logits, beams.state, given["beam_scores"], num_beams, level)
            scores: torch.Tensor = step[0]
            return scores

        if compiled:
            theirs = torch.compile(theirs, mode="max-autotune-no-cudagraphs", dynamic=False)
            name = f"{name}, compiled"
        yield f"{name}, eager", theirs
        yield f"{name}, graphed", theirs


def time_steps(limit: Time) -> list[dict[str, Any]]:
    """A row a case; compilations, which take longest, last."""
    cases = [
        {"compiled": compiled, "level": level, "batch": batch, "num_beams": num_beams}
        for compiled in (False, True)
        for level in (1, 2)
        for batch, num_beams in STEPS
    ]
    return [time_step(**case) for case in cases if limit.allows(case)]


def time_step(compiled: bool, level: int, batch: int, num_beams: int) -> dict[str, Any]:
    beams = Beams.at_level(level, batch, num_beams)
    ours = dict(own_steps(beams))
    want = ours["cuda, eager"]().clone()
    row: dict[str, Any] = {"level": level, "batch": batch, "num_beams": num_beams}
    rivals = dict(static_steps(beams, compiled))
    for name, function in (rivals if compiled else ours | rivals).items():
        torch.testing.assert_close(function(), want, rtol=1e-4, atol=1e-4)
        row[name] = microseconds(captured(function) if "graphed" in name else function)
    return row


def sweep_shares(limit: Time) -> list[dict[str, Any]]:
    """The step cut in every way, to choose `plan_shares` by."""
    rows = []
    for batch, num_beams in STEPS:
        if not limit.allows(f"{batch} x {num_beams}"):
            continue
        beams = Beams.at_level(1, batch, num_beams)
        want = None
        for shares, cluster in CUTS:
            row = {"batch": batch, "num_beams": num_beams, "shares": shares, "cluster": cluster}
            if not limit.allows(row):
                continue
            function = planned(beams.arguments, shares, cluster)
            got = function().scores.clone()
            want = got if want is None else want
            assert torch.equal(got, want), "a cut changes the bits"
            rows.append(row | microseconds(captured(function)))
    return rows


@dataclass(frozen=True)
class AttentionCase:
    """Arguments of `beam_attention`, bfloat16; `own` is empty for the context alone."""

    query: torch.Tensor
    context: tuple[torch.Tensor, torch.Tensor, torch.Tensor]
    own: tuple[torch.Tensor, ...]

    @classmethod
    def random(cls, shape: Sequence[int], device: str = "cuda") -> AttentionCase:
        batch, beams, prompt, heads, kv_heads, head_dim = shape

        def normal(*sizes: int) -> torch.Tensor:
            return torch.randn(sizes, dtype=torch.bfloat16, device=device)

        context = [normal(batch, kv_heads, prompt, head_dim) for _ in range(2)]
        lengths = torch.full((batch,), prompt, dtype=torch.int32, device=device)
        own = [normal(batch, OWN_STEPS, beams, kv_heads, head_dim) for _ in range(2)]
        ancestry = torch.randint(beams, (batch, beams, OWN_STEPS), device=device).int()
        query = normal(batch, beams, heads, head_dim)
        return cls(query, (context[0], context[1], lengths), (own[0], own[1], ancestry))

    def without_own(self) -> AttentionCase:
        return AttentionCase(self.query, self.context, ())

    def grouped(self) -> torch.Tensor:
        """The query as [batch, kv_head, beam, head of the group, head_dim]."""
        batch, beams, heads, head_dim = self.query.shape
        kv_heads = self.context[0].shape[1]
        rows = self.query.view(batch, beams, kv_heads, heads // kv_heads, head_dim)
        return rows.permute(0, 2, 1, 3, 4)

    def joined(self, mixed: torch.Tensor) -> torch.Tensor:
        """[batch, kv_head, beam, head of the group, head_dim] -> as `beam_attention` gives it."""
        return mixed.permute(0, 2, 1, 3, 4).reshape(*self.query.shape[:2], -1)

    def ours(self) -> torch.Tensor:
        from onesearch_fast.ops import beam_attention

        return beam_attention(self.query, *self.context, *self.own, backend="triton")

    def folded(self) -> torch.Tensor:
        """Beams and heads of a group as the queries of torch's attention: its strongest form."""
        rows, (key, value, _) = self.grouped(), self.context
        mixed = torch.nn.functional.scaled_dot_product_attention(rows.flatten(2, 3), key, value)
        return self.joined(mixed.view(rows.shape))

    def in_float32(self) -> torch.Tensor:
        """By the formula, in float32 throughout."""
        query = self.grouped().float()
        key, value = (part.float() for part in self.context[:2])
        scores = torch.einsum("bkwgd,bksd->bkwgs", query, key)
        if not self.own:
            weights = (scores / query.shape[-1] ** 0.5).softmax(-1)
            return self.joined(torch.einsum("bkwgs,bksd->bkwgd", weights, value))
        at = self.own[2].long().transpose(1, 2)[..., None, None]
        own_key, own_value = (
            part.float().gather(2, at.expand(*at.shape[:3], *part.shape[3:]))
            for part in self.own[:2]
        )
        own_scores = torch.einsum("bkwgd,btwkd->bkwgt", query, own_key)
        scores = torch.cat((scores, own_scores), dim=-1)
        weights = (scores / query.shape[-1] ** 0.5).softmax(-1)
        of_context, of_own = weights.split([key.shape[2], OWN_STEPS], dim=-1)
        mixed = torch.einsum("bkwgs,bksd->bkwgd", of_context, value)
        return self.joined(mixed + torch.einsum("bkwgt,btwkd->bkwgd", of_own, own_value))


# Results of some 1 / sqrt(prompt), so 0.03 to 0.1, rounded to 8 bits; weights were rounded before.
ATTENTION_TOLERANCE = {"rtol": 1e-2, "atol": 1e-3}


def time_attention(limit: Time) -> list[dict[str, Any]]:
    rows = []
    for shape in ATTENTIONS:
        names = ("batch", "beams", "prompt", "heads", "kv_heads", "head_dim")
        row: dict[str, Any] = dict(zip(names, shape, strict=True))
        if not limit.allows(row):
            continue
        whole = AttentionCase.random(shape)
        alone = whole.without_own()
        rivals = (
            ("triton, context alone", alone, alone.ours),
            ("torch, beams folded, context alone", alone, alone.folded),
            ("triton, with own tokens", whole, whole.ours),
        )
        for name, case, function in rivals:
            want = case.in_float32()
            torch.testing.assert_close(function().float(), want, **ATTENTION_TOLERANCE)
            row[name] = microseconds(captured(function))
        rows.append(row)
    return rows


@cache
def searched(model_type: str, sizes: tuple[int, ...], level_sizes: tuple[int, ...]) -> Any:
    """An engine on the GPU, and how many tokens of its vocabulary are text."""
    sys.path.insert(0, str(Path(__file__).parent))
    from engine_setup import Setup, model, trie

    import onesearch_fast as osf
    from onesearch_fast.testing.random_models import ModelSize

    setup = Setup(model_type, ModelSize(*sizes), level_sizes, 7680, 1_000_000, 0)
    options = {"device": "cuda", "dtype": "bfloat16", "code_token_offsets": setup.offsets}
    return osf.Engine.from_pretrained(model(setup), trie(setup), **options), setup.text_tokens


def milliseconds(function: Callable[[], Any]) -> dict[str, float]:
    """Host time included: from the call until its answer lies on the device."""
    times = []
    for _ in range(8):
        torch.cuda.synchronize()
        started = time.perf_counter()
        function()
        torch.cuda.synchronize()
        times.append(1e3 * (time.perf_counter() - started))
    return {"median_ms": median(times[2:]), "min_ms": min(times)}


def kernel_shares(function: Callable[[], Any]) -> dict[str, float]:
    """The parts of selection and of attention in the time of all kernels."""
    activity = torch.profiler.ProfilerActivity.CUDA
    with torch.profiler.profile(activities=[activity]) as profile:
        function()
        torch.cuda.synchronize()
    events = profile.key_averages()
    total = sum(event.self_device_time_total for event in events)
    names = ("constrained_beam_step", "beam_attention")
    return {
        f"{name}, share": sum(e.self_device_time_total for e in events if name in e.key) / total
        for name in names
    }


def time_searches(limit: Time) -> list[dict[str, Any]]:
    """Whole searches, as graphs and step by step, and the graph of all levels alone."""
    rows = []
    for model_type, sizes, level_sizes, prompt, batch, num_beams in SEARCHES:
        row: dict[str, Any] = {"model": model_type, "hidden": sizes[0], "levels": len(level_sizes)}
        row |= {"prompt": prompt, "batch": batch, "num_beams": num_beams}
        if not limit.allows(row):
            continue
        engine, text_tokens = searched(model_type, sizes, level_sizes)
        ids = torch.randint(3, text_tokens, (batch, prompt))
        graphed = partial(engine.generate, ids, num_beams=num_beams)
        # A deadline, which no graph can keep, has the levels launched one by one.
        by_step = partial(graphed, deadline_ms=3_600_000)
        got, want = graphed(), by_step()
        assert (got.stats.graphed, want.stats.graphed) == (1, 0)
        assert bool((got.count == num_beams).all())
        torch.testing.assert_close(got.scores, want.scores, rtol=1e-2, atol=1e-2)
        row["graphed"], row["by step"] = milliseconds(graphed), milliseconds(by_step)
        replay = newest_graph(engine).captured.replay
        row["all levels"] = microseconds(replay, repeats=20) | kernel_shares(replay)
        rows.append(row)
    return rows


def newest_graph(engine: Any) -> Any:
    return next(reversed(engine._space.graphs._graphs.values()))


Stage = Callable[[Time], Any]

STAGES: dict[str, Stage] = {
    "build": build,
    "tests": run_tests,
    "sanitizer": run_sanitizer,
    "beam_attention": time_attention,
    "constrained_beam_step": time_steps,
    "shares": sweep_shares,
    "searches": time_searches,
}


def run_stage(report: Report, name: str, stage: Stage, end: float) -> None:
    """Runs a stage until its end, and notes what it gave, or why it gave nothing."""
    limit = Time(end)
    if not limit.allows(name):
        report.cut += limit.cut
        return
    try:
        report.stages[name] = stage(limit)
    except Exception as error:  # the other stages still tell something
        report.failed.append(name)
        report.stages[name] = {"error": str(error)[-4000:]}
    report.cut += [f"{name}: {what}" for what in limit.cut]


def run_all(with_build: bool, path: Path) -> int:
    begin = time.monotonic()
    report = Report(torch.cuda.get_device_name(), versions())
    for name, stage in STAGES.items():
        if name == "build" and not with_build:
            continue
        print(f"== {name}", flush=True)
        started = time.monotonic()
        run_stage(report, name, stage, begin + ENDS[name])
        print(json.dumps(report.stages.get(name))[:2000])
        print(f"== {name}: {time.monotonic() - started:.0f} s", flush=True)
        path.write_text(json.dumps(asdict(report), indent=1) + "\n", encoding="utf-8")
    return 1 if report.failed else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--build", action="store_true", help="build and install the package first")
    parser.add_argument("--json", type=Path, default=Path("gpu_suite.json"))
    parser.add_argument("--small-case", action="store_true", help="what the sanitizer looks at")
    arguments = parser.parse_args()
    if torch.version.cuda is None or not torch.cuda.is_available():
        print("gpu_suite: no GPU: torch sees no CUDA device, and nothing was run", file=sys.stderr)
        return 2
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    if arguments.small_case:
        small_case()
        return 0
    return run_all(arguments.build, arguments.json)


if __name__ == "__main__":
    sys.exit(main())
