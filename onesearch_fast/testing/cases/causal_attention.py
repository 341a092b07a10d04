"""Inputs of `causal_attention`, plain, degenerate and hostile, and how to judge a result."""

from __future__ import annotations

from functools import partial

import torch

from onesearch_fast.ops.causal_attention import causal_attention
from onesearch_fast.registry import REFERENCE, Tolerance
from onesearch_fast.testing.cases import NAN, Arguments, Case, altered, cut_from_larger, plain
from onesearch_fast.testing.closeness import assert_close


def random_causal(
    dtype: torch.dtype,
    batch: int = 2,
    tokens: int = 20,
    prompt: int | None = None,
    kv_heads: int = 2,
    group: int = 2,
    head_dim: int = 32,
) -> Arguments:
    """Arguments in which all of a prompt asks, or its last tokens."""
    prompt = tokens if prompt is None else prompt
    generator = torch.Generator().manual_seed(head_dim + 7 * prompt + 1000 * tokens)

    def normal(*sizes: int) -> torch.Tensor:
        return torch.randn(sizes, generator=generator).to(dtype)

    return {
        "query": normal(batch, tokens, kv_heads * group, head_dim),
        "key": normal(batch, kv_heads, prompt, head_dim),
        "value": normal(batch, kv_heads, prompt, head_dim),
    }


_plain = partial(plain, random_causal)
_altered = partial(altered, random_causal)


def _raise_later_scores(arguments: Arguments) -> None:
    """Later keys score higher by hundreds: a maximum that saw them would leave nothing."""
    prompt = arguments["key"].shape[2]
    arguments["query"].abs_().mul_(2)
    arguments["key"].abs_().mul_(torch.linspace(-4, 4, prompt)[:, None].to(arguments["key"].dtype))


def _poison_one_query(arguments: Arguments) -> None:
    arguments["query"][0, 3, 1] = NAN


def _tie_all(arguments: Arguments) -> None:
    arguments["query"].fill_(0.5)
    arguments["key"].fill_(-1.0)


def _scale_by_one(arguments: Arguments) -> None:
    arguments["scale"] = 1.0


def _cut_from_one_product(arguments: Arguments) -> None:
    """Queries, keys and values as heads of one product [batch, token, head, head_dim]."""
    key, value = (arguments[name].transpose(1, 2) for name in ("key", "value"))
    joint = torch.cat((arguments["query"], key, value), dim=2)
    heads = [arguments["query"].shape[2], key.shape[2], key.shape[2]]
    query, key, value = torch.split(joint, heads, dim=2)
    arguments |= {"query": query, "key": key.transpose(1, 2), "value": value.transpose(1, 2)}


CASES = (
    Case("plain", _plain()),
    *(Case(f"head_dim-{n}", _plain(head_dim=n)) for n in (1, 8, 12, 24, 64, 80, 96, 128, 512)),
    *(Case(f"group-{group}", _plain(kv_heads=1, group=group)) for group in (1, 3, 7)),
    *(Case(f"tokens-{n}", _plain(tokens=n, group=1)) for n in (1, 2, 16, 64, 65, 127, 129, 300)),
    *(Case(f"last-{n}", _plain(tokens=n, prompt=150)) for n in (1, 5, 22, 33, 149)),
    Case("last-long", _plain(tokens=70, prompt=330, head_dim=64, group=3)),
    Case("no_requests", _plain(batch=0)),
    Case("no_tokens", _plain(tokens=0, prompt=9)),
    Case("nothing", _plain(tokens=0)),
    Case("many_requests", _plain(batch=9, kv_heads=3)),
    Case("rising_scores", _altered(_raise_later_scores, tokens=140)),
    Case("poisoned_query", _altered(_poison_one_query)),
    Case("ties_everywhere", _altered(_tie_all, tokens=140)),
    Case("scale-1", _altered(_scale_by_one)),
    Case("odd_strides", _altered(cut_from_larger("query", "key", "value"), tokens=30, prompt=130)),
    Case("cut_from_one_product", _altered(_cut_from_one_product)),
)


# Prompts of Qwen3-1.7B; what a prefix cache leaves of one.
SERVED = (
    Case("prompt-1000", _plain(batch=4, tokens=1000, kv_heads=8, head_dim=128)),
    Case("prompt-5000", _plain(batch=1, tokens=5000, kv_heads=8, head_dim=128)),
    Case("rest-200", _plain(batch=1, tokens=200, prompt=1000, kv_heads=8, head_dim=128)),
)


def poisoned(arguments: Arguments) -> torch.Tensor:
    """Memory for the result in which nothing looks right, so that every entry must be written."""
    batch, tokens, heads, head_dim = arguments["query"].shape
    return torch.full((batch, tokens, heads * head_dim), NAN, dtype=arguments["query"].dtype)


def check(arguments: Arguments, got: torch.Tensor, tolerance: Tolerance) -> None:
    """Asserts that `got` lies within `tolerance` of the reference."""
    assert_close(got, causal_attention(**arguments, backend=REFERENCE), tolerance)
