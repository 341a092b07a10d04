"""Inputs of `beam_attention`, plain, degenerate and hostile, and how to judge a result."""

from __future__ import annotations

from functools import partial

import torch

from onesearch_fast.ops.beam_attention import beam_attention
from onesearch_fast.registry import REFERENCE, Tolerance
from onesearch_fast.testing.cases import (
    INF,
    NAN,
    Alter,
    Arguments,
    Case,
    altered,
    cut_from_larger,
    plain,
)
from onesearch_fast.testing.closeness import assert_close

CONTEXT = ("context_key", "context_value", "context_length")
OWN = ("own_key", "own_value", "ancestry")


def random_attention(
    dtype: torch.dtype,
    batch: int = 2,
    beams: int = 5,
    kv_heads: int = 2,
    group: int = 2,
    head_dim: int = 32,
    prompt: int = 20,
    steps: int = 3,
) -> Arguments:
    """Arguments with prompts of unequal length, the last one whole, and random ancestors."""
    generator = torch.Generator().manual_seed(head_dim + 7 * prompt + 1000 * beams + steps)

    def normal(*sizes: int) -> torch.Tensor:
        return torch.randn(sizes, generator=generator).to(dtype)

    def below(end: int, *sizes: int) -> torch.Tensor:
        return torch.randint(0, end, sizes, generator=generator, dtype=torch.int32)

    context_length = below(prompt + 1, batch)
    context_length[-1:] = prompt
    return {
        "query": normal(batch, beams, kv_heads * group, head_dim),
        "context_key": normal(batch, kv_heads, prompt, head_dim),
        "context_value": normal(batch, kv_heads, prompt, head_dim),
        "context_length": context_length,
        "own_key": normal(batch, steps, beams, kv_heads, head_dim),
        "own_value": normal(batch, steps, beams, kv_heads, head_dim),
        "ancestry": below(max(beams, 1), batch, beams, steps),
    }


_plain = partial(plain, random_attention)
_altered = partial(altered, random_attention)


def _leave_out(*names: str) -> Alter:
    def alter(arguments: Arguments) -> None:
        for name in names:
            arguments[name] = None

    return alter


def _empty_one_prompt(arguments: Arguments) -> None:
    arguments["context_length"][0] = 0


def _poison_padding(arguments: Arguments) -> None:
    """What stands past a prompt's length is no number, and must not be read as one."""
    arguments["context_length"].fill_(11)
    for name in ("context_key", "context_value"):
        arguments[name][:, :, 11:] = NAN


def _poison_other_beams(arguments: Arguments) -> None:
    """Beams nobody descends from."""
    arguments["ancestry"].clamp_(max=2)
    for name in ("own_key", "own_value"):
        arguments[name][:, :, 3:] = NAN


def _poison_one_query(arguments: Arguments) -> None:
    arguments["query"][0, 1, 2] = NAN
    arguments["query"][1, 3, 0, 5] = INF


def _poison_one_key(arguments: Arguments) -> None:
    arguments["context_key"][1, 0, 3, 2] = NAN
    arguments["own_key"][0, 1, 2, 1] = NAN


def _raise_scores(arguments: Arguments) -> None:
    """Scores in the hundreds, the greatest in the last block: nearly one-hot, rescaled again."""
    arguments["query"].mul_(8)
    arguments["context_key"].mul_(4)
    arguments["context_key"][:, :, -1].mul_(2)


def _lower_scores(arguments: Arguments) -> None:
    """Scores far below zero, where a maximum that began at zero would lose them all."""
    arguments["query"].abs_().mul_(8)
    for name in ("context_key", "own_key"):
        arguments[name].abs_().mul_(-4)


def _tie_all(arguments: Arguments) -> None:
    arguments["query"].fill_(0.5)
    arguments["context_key"].fill_(-1.0)
    arguments["own_key"].fill_(-1.0)


def _scale_by_one(arguments: Arguments) -> None:
    arguments["scale"] = 1.0


def _widen_strides(arguments: Arguments) -> None:
    cut_from_larger("query", *CONTEXT[:2], *OWN[:2])(arguments)
    arguments["ancestry"] = arguments["ancestry"].mT.contiguous().mT
    arguments["context_length"] = arguments["context_length"].repeat_interleave(2)[::2]


def _cut_from_one_product(arguments: Arguments) -> None:
    """Queries out of a joint product with keys and values; the cache without its last beams."""
    query = arguments["query"]
    joint = torch.cat((query, query, query), dim=2)
    arguments["query"] = joint[:, :, : query.shape[2]]
    for name in ("own_key", "own_value"):
        own = arguments[name]
        arguments[name] = torch.cat((own, torch.full_like(own, NAN)), dim=2)[:, :, : own.shape[2]]


def _share_one_context(arguments: Arguments) -> None:
    for name in ("context_key", "context_value"):
        arguments[name] = arguments[name][:1].expand_as(arguments[name])


CASES = (
    Case("plain", _plain()),
    *(Case(f"head_dim-{n}", _plain(head_dim=n)) for n in (1, 8, 12, 24, 64, 80, 96, 128, 512)),
    *(Case(f"group-{group}", _plain(kv_heads=1, group=group)) for group in (1, 3, 7)),
    *(Case(f"rows-{beams}", _plain(beams=beams, group=1)) for beams in (1, 16, 33, 48, 64, 70)),
    *(Case(f"prompt-{size}", _plain(prompt=size)) for size in (1, 3, 127, 128, 129, 300)),
    *(Case(f"steps-{steps}", _plain(steps=steps)) for steps in (1, 16, 17)),
    Case("no_requests", _plain(batch=0)),
    Case("no_beams", _plain(beams=0)),
    Case("many_requests", _plain(batch=9, kv_heads=3)),
    Case("wide", _plain(beams=150, group=4, head_dim=64, prompt=260, batch=1)),
    Case("context_only", _altered(_leave_out(*OWN))),
    Case("context_only-whole", _altered(_leave_out(*OWN, "context_length"), prompt=140)),
    Case("own_only", _altered(_leave_out(*CONTEXT))),
    Case("own_only-wide", _altered(_leave_out(*CONTEXT), beams=70, head_dim=64)),
    Case("whole_prompts", _altered(_leave_out("context_length"))),
    Case("empty_prompts", _plain(prompt=0)),
    Case("no_steps", _plain(steps=0)),
    Case("empty_prompt_beside_others", _altered(_empty_one_prompt)),
    Case("nothing_to_see", _altered(_empty_one_prompt, steps=0)),
    Case("poisoned_padding", _altered(_poison_padding)),
    Case("poisoned_padding-even", _altered(_poison_padding, prompt=12, head_dim=64)),
    Case("poisoned_strangers", _altered(_poison_other_beams)),
    Case("poisoned_queries", _altered(_poison_one_query)),
    Case("poisoned_keys", _altered(_poison_one_key)),
    Case("large_scores", _altered(_raise_scores, prompt=300)),
    Case("low_scores", _altered(_lower_scores, prompt=140)),
    Case("ties_everywhere", _altered(_tie_all, prompt=140)),
    Case("scale-1", _altered(_scale_by_one)),
    Case("odd_strides", _altered(_widen_strides, prompt=130)),
    Case("cut_from_one_product", _altered(_cut_from_one_product)),
    Case("shared_context", _altered(_share_one_context)),
)


def poisoned(arguments: Arguments) -> torch.Tensor:
    """Memory for the result in which nothing looks right, so that every entry must be written."""
    batch, beams, heads, head_dim = arguments["query"].shape
    return torch.full((batch, beams, heads * head_dim), NAN, dtype=arguments["query"].dtype)


def check(arguments: Arguments, got: torch.Tensor, tolerance: Tolerance) -> None:
    """Asserts that `got` lies within `tolerance` of the reference."""
    assert_close(got, beam_attention(**arguments, backend=REFERENCE), tolerance)
