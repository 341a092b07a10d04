"""Every operator that has a kernel for a GPU, on its `SERVED` cases; attention beside torch's.

And what its tiles, and the parts that a vocabulary is multiplied in, are to be tuned by.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
from gpu_timing import Target, compiled_variants

from onesearch_fast.engine import decoding
from onesearch_fast.ops import beam_attention
from onesearch_fast.registry import REFERENCE, Operator, backends_of, operators, why_not
from onesearch_fast.testing.cases import Case
from onesearch_fast.testing.devices import on_device

Row = dict[str, Any]
Rows = Iterator[tuple[Row, Callable[[], Row]]]

# batch, beams, prompt, heads, kv_heads, head_dim
ATTENTIONS = (
    (4, 256, 1000, 16, 8, 128),
    (1, 256, 1000, 16, 8, 128),
    *((1, beams, prompt, 16, 8, 128) for beams in (256, 128) for prompt in (128, 512)),
    (8, 256, 1000, 12, 12, 64),
)
OWN_STEPS = 3
TUNED = (*ATTENTIONS[:2], ATTENTIONS[3])
# rows, keys, warps and stages of a tile; then the most programs of a request whose context is cut,
# and the keys of a chunk. The first are what stands.
TILES = (
    *((64, 64, 4, 2), (64, 64, 4, 3), (64, 128, 4, 2)),
    *((128, 64, 8, 2), (128, 64, 8, 3), (128, 128, 8, 2)),
)
SPLITS = ((16, 256), (64, 256), (64, 512), (64, 128))
# Rows at once, how often before a wait, columns and warps of a sum of rows.
SUMS = ((8, 4, 256, 1), (8, 8, 256, 1), (8, 4, 128, 1), (16, 2, 256, 2), (16, 1, 128, 4))
# Logits of a vocabulary at a time, beams, hidden size and vocabulary.
CHUNKS = tuple(1 << power for power in (20, 22, 24, 26))
VOCABULARY = (256, 2048, 150_000)
# Results of some 1 / sqrt(prompt), so 0.03 to 0.1, rounded to 8 bits; weights were rounded before.
ATTENTION_TOLERANCE: dict[str, Any] = {"rtol": 1e-2, "atol": 1e-3}


def measure(target: Target) -> Rows:
    """What the machine itself does, each operator, and attention against its rivals."""
    yield {"operator": "nothing"}, partial(nothing, target)
    yield {"operator": "copy"}, partial(copy, target)
    yield {"operator": "matmul"}, partial(matmul, target)
    for shape in ATTENTIONS[-1:] if target.dry else ATTENTIONS:
        names = ("batch", "beams", "prompt", "heads", "kv_heads", "head_dim")
        label = {"operator": "beam_attention"} | dict(zip(names, shape, strict=True))
        small = (2, 3, 300, *shape[3:])
        yield label, partial(race_attention, target, small if target.dry else shape)
    yield {"operator": "sid_embedding_bag", "rival": "torch"}, partial(race_bag, target)
    for operator in with_gpu_kernels():
        for case in operator.cases.CASES[:1] if target.dry else served(operator):
            label = {"operator": operator.name, "case": case.name}
            yield label, partial(time_case, target, operator, case)
    for shape in () if target.dry else TUNED:
        yield {"operator": "beam_attention", "tuned": shape}, partial(tune, target, shape)
    for name in () if target.dry else ("sid_embedding_bag", "sid_embedding_bag_backward"):
        yield {"operator": name, "tuned": True}, partial(tune_sums, target, name)
    yield {"operator": "vocab_log_normalizer"}, partial(tune_vocabulary, target)
    yield {"operator": "compiled variants"}, compiled_variants


def with_gpu_kernels() -> list[Operator]:
    return [one for one in operators() if {"cuda", "triton"} & {*backends_of(one)}]


def served(operator: Operator) -> Sequence[Case]:
    """`SERVED` of its cases: shapes as searches and training have them; else the plain case."""
    cases: Sequence[Case] = getattr(operator.cases, "SERVED", operator.cases.CASES[:1])
    return cases


def time_case(target: Target, operator: Operator, case: Case) -> Row:
    """Graphed, by every backend that can run; each result checked against the reference first."""
    dtype = torch.bfloat16 if torch.bfloat16 in operator.dtypes else operator.dtypes[0]
    given = case.build(dtype)
    arguments = on_device(given, target.device)
    moved = [one for one in arguments.values() if isinstance(one, torch.Tensor)]
    row: Row = {"dtype": str(dtype), "input_bytes": sum(one.nbytes for one in moved)}
    for backend in (*target.backends, REFERENCE):
        reason = why_not(operator, backend, target.device, dtype)
        if reason is not None:
            row[backend] = {"why_not": reason}
            continue
        out = on_device(operator.cases.poisoned(case.build(dtype)), target.device)
        work = partial(operator.function, **arguments, out=out, backend=backend)
        work()
        # Most references have a CPU form alone.
        operator.cases.check(given, on_device(out, "cpu"), operator.tolerance[dtype])
        # The reference may ask the host, which no graph can hold.
        row[backend] = target.microseconds(work if backend == REFERENCE else target.graphed(work))
    return row


def race_bag(target: Target) -> Row:
    """64 histories against torch's: its own bag of rows, and a gather with a sum behind it."""
    (operator,) = (one for one in operators() if one.name == "sid_embedding_bag")
    case = (operator.cases.CASES if target.dry else operator.cases.SERVED)[0]
    given = on_device(case.build(torch.bfloat16), target.device)
    codes, sizes, bounds = given["codes"], given["level_sizes"], given["offsets"]
    firsts = torch.tensor([0, *sizes[:-1]], device=codes.device).cumsum(0)
    table = torch.nn.functional.pad(given["table"], (0, 0, 0, 1))  # a row of zeros for no code
    rows = torch.where(codes < 0, len(table) - 1, codes + firsts).flatten()
    begins = bounds[:-1] * len(sizes)
    bag_of = torch.arange(len(begins), device=codes.device)
    bag_of = bag_of.repeat_interleave(bounds.diff() * len(sizes))
    sums = torch.zeros(len(begins), table.shape[1], dtype=table.dtype, device=codes.device)
    bag = partial(torch.nn.functional.embedding_bag, rows, table, begins, mode="sum")
    rivals: dict[str, Callable[[], torch.Tensor]] = {
        "ours": partial(operator.function, **given),
        "torch, embedding_bag": bag,
        "torch, gathered": lambda: torch.index_add(sums, 0, bag_of, table[rows]),
    }
    want = torch.index_add(sums.float(), 0, bag_of, table[rows].float())
    row: Row = {}
    for name, work in rivals.items():
        # A thousand terms, summed in bfloat16 by a rival.
        torch.testing.assert_close(work().float(), want, rtol=0.1, atol=4.0)
        row[name] = target.microseconds(target.graphed(work))
    return row


def nothing(target: Target) -> Row:
    """One launch that does next to nothing: what the others cannot go below."""
    one = torch.ones(1, device=target.device)
    return target.microseconds(target.graphed(lambda: one.add_(1)))


def copy(target: Target) -> Row:
    """The bandwidth to compare with: bytes read and written."""
    source = torch.randn(1 << (16 if target.dry else 30), device=target.device)
    to = torch.empty_like(source)
    times = target.microseconds(lambda: to.copy_(source), repeats=20)
    return times | {"gb_per_s": 2e-3 * source.nbytes / times["median_us"]}


def matmul(target: Target) -> Row:
    """The rate of matrix products to compare with."""
    size = 64 if target.dry else 8192
    a, b = (torch.randn(size, size, device=target.device).bfloat16() for _ in range(2))
    times = target.microseconds(lambda: a @ b, repeats=20)
    return times | {"tflop_per_s": 2e-6 * size**3 / times["median_us"]}


@dataclass(frozen=True)
class AttentionCase:
    """Arguments of `beam_attention`, bfloat16; `own` is empty for the context alone."""

    query: torch.Tensor
    context: tuple[torch.Tensor, torch.Tensor, torch.Tensor]
    own: tuple[torch.Tensor, ...]

    @classmethod
    def random(cls, shape: Sequence[int], device: str) -> AttentionCase:
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
        return beam_attention(self.query, *self.context, *self.own)

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


def race_attention(target: Target, shape: Sequence[int]) -> Row:
    whole = AttentionCase.random(shape, target.device)
    alone = whole.without_own()
    rivals = (
        ("ours, context alone", alone, alone.ours),
        ("torch, beams folded, context alone", alone, alone.folded),
        ("ours, with own tokens", whole, whole.ours),
    )
    row: Row = {}
    for name, case, function in rivals:
        want = case.in_float32()
        torch.testing.assert_close(function().float(), want, **ATTENTION_TOLERANCE)
        row[name] = target.microseconds(target.graphed(function))
    return row


def tune(target: Target, shape: Sequence[int]) -> Row:
    """Every tile and every split, beside what stands."""
    kernels = importlib.import_module("onesearch_fast.kernels.triton.beam_attention")
    case = AttentionCase.random(shape, target.device)
    want, standing = case.in_float32(), kernels.tile_options
    row: Row = {}
    for tile, split in (
        *((tile, SPLITS[0]) for tile in TILES),
        *((TILES[0], s) for s in SPLITS[1:]),
    ):
        sizes = dict(zip(("BLOCK_ROW", "BLOCK_KEY", "num_warps", "num_stages"), tile, strict=True))
        changes: dict[str, Any] = {
            "tile_options": lambda query, sizes=sizes: standing(query) | sizes,
            "_FEW_PROGRAMS": split[0],
            "_CHUNK_KEYS": split[1],
        }
        with patch.multiple(kernels, **changes):
            torch.testing.assert_close(case.ours().float(), want, **ATTENTION_TOLERANCE)
            row[f"{tile} {split}"] = target.microseconds(target.graphed(case.ours), repeats=50)
    return row


def tune_sums(target: Target, name: str) -> Row:
    """Sums of table rows by every tile, each checked."""
    sums = importlib.import_module("onesearch_fast.kernels.triton._sums_of_rows")
    (operator,) = (one for one in operators() if one.name == name)
    row: Row = {}
    for case in operator.cases.SERVED:
        given = case.build(torch.bfloat16)
        work = partial(operator.function, **on_device(given, target.device), backend="triton")
        for tile in SUMS:
            names = ("_BLOCK_TERMS", "_UNROLLED", "_WIDE_BLOCK", "_WARPS")
            changes: dict[str, Any] = dict(zip(names, tile, strict=True))
            with patch.multiple(sums, **changes):
                tolerance = operator.tolerance[torch.bfloat16]
                operator.cases.check(given, on_device(work(), "cpu"), tolerance)
                row[f"{case.name} {tile}"] = target.microseconds(target.graphed(work), repeats=50)
    return row


def tune_vocabulary(target: Target) -> Row:
    """`vocab_log_normalizer` by the logits that exist at a time."""
    beams, hidden, vocab = (3, 16, 5000) if target.dry else VOCABULARY
    weight = torch.randn(vocab, hidden, device=target.device).bfloat16() / hidden**0.5
    states = torch.randn(1, beams, hidden, device=target.device).bfloat16()
    model: Any = SimpleNamespace(
        logits=lambda states, begin, end: states @ weight[begin:end].T,
        shape=SimpleNamespace(vocab_size=vocab),
    )
    known = model.logits(states, 0, 2048)
    want = (states @ weight.T).float().logsumexp(-1)
    work = partial(decoding.vocab_log_normalizer, model, states, known, 0)
    row: Row = {"product alone": target.microseconds(target.graphed(lambda: states @ weight.T))}
    for logits in CHUNKS:
        with patch.object(decoding, "CHUNK_LOGITS", logits):
            torch.testing.assert_close(work(), want, rtol=1e-3, atol=1e-2)
            row[f"{logits} at a time"] = target.microseconds(target.graphed(work), repeats=20)
    return row
