"""Inputs of `rotary`, plain, degenerate and hostile, and how to judge a result."""

from __future__ import annotations

from functools import partial

import torch

from onesearch_fast.ops.rotary import QueryKeyValue, rotary
from onesearch_fast.registry import REFERENCE, Tolerance
from onesearch_fast.testing.cases import INF, NAN, Arguments, Case, altered, plain
from onesearch_fast.testing.closeness import assert_close


def random_heads(
    dtype: torch.dtype,
    batch: int = 2,
    tokens: int = 3,
    heads: int = 4,
    kv_heads: int = 2,
    head_dim: int = 64,
) -> Arguments:
    """Arguments with a norm; angles far from zero."""
    generator = torch.Generator().manual_seed(head_dim + 100 * heads + tokens)
    angles = 100 * torch.randn(batch, tokens, head_dim // 2, generator=generator)
    weight = 1 + torch.randn(heads + kv_heads, head_dim, generator=generator) / 4
    x = 3 * torch.randn(batch, tokens, heads + 2 * kv_heads, head_dim, generator=generator)
    return {
        "x": x.to(dtype),
        "rotation": torch.cat((angles.cos(), angles.sin()), dim=-1),
        "norm_weight": weight.to(dtype),
        "eps": 1e-5,
        "kv_heads": kv_heads,
    }


_plain = partial(plain, random_heads)
_altered = partial(altered, random_heads)


def _without_norm(arguments: Arguments) -> None:
    arguments["norm_weight"] = None


def _poison(arguments: Arguments) -> None:
    """A query, a key and values."""
    x = arguments["x"]
    x[0, 1, 2, 5], x[0, 2, 4, 1], x[1, 0, 3, 0] = NAN, NAN, INF
    x[1, 1, 6, 3], x[1, 1, 7, 3] = NAN, -INF


def _poison_without_norm(arguments: Arguments) -> None:
    _without_norm(arguments)
    _poison(arguments)


def _zeros(arguments: Arguments) -> None:
    arguments["x"].zero_()


def _turn_by_nothing(arguments: Arguments) -> None:
    cosine, sine = arguments["rotation"].chunk(2, dim=-1)
    cosine.fill_(1.0)
    sine.zero_()


def _share_rotation(arguments: Arguments) -> None:
    """One position for all tokens of a request, as beams have."""
    arguments["rotation"] = arguments["rotation"][:, :1].expand(-1, 3, -1)


def _cut_from_one_product(arguments: Arguments) -> None:
    x = arguments["x"]
    joint = torch.cat((x, torch.full_like(x, NAN)), dim=2)
    arguments["x"] = joint[:, :, : x.shape[2]]


CASES = (
    Case("plain", _plain()),
    *(Case(f"head_dim-{size}", _plain(head_dim=size)) for size in (2, 6, 16, 32, 34, 80, 128, 256)),
    Case("without_norm", _altered(_without_norm)),
    Case("without_norm-16", _altered(_without_norm, head_dim=16)),
    Case("one_head", _plain(heads=1, kv_heads=1)),
    Case("queries_alone", _plain(kv_heads=0)),
    Case("queries_alone-without_norm", _altered(_without_norm, kv_heads=0)),
    Case("keys_and_values_alone", _plain(heads=0)),
    Case("many_tokens", _plain(batch=3, tokens=70, heads=12, kv_heads=3)),
    Case("no_tokens", _plain(tokens=0)),
    Case("no_heads", _plain(heads=0, kv_heads=0)),
    Case("poisoned", _altered(_poison)),
    Case("poisoned-without_norm", _altered(_poison_without_norm)),
    Case("zeros", _altered(_zeros)),
    Case("no_turn", _altered(_turn_by_nothing)),
    Case("shared_rotation", _altered(_share_rotation)),
    Case("cut_from_one_product", _altered(_cut_from_one_product)),
)

# Of 256 beams, of 8 x 256, and of a prompt.
SERVED = tuple(
    Case(
        f"{batch}x{tokens}",
        _plain(batch=batch, tokens=tokens, heads=16, kv_heads=8, head_dim=128),
    )
    for batch, tokens in ((1, 256), (8, 256), (1, 5000))
)


def poisoned(arguments: Arguments) -> QueryKeyValue:
    """Memory for the result in which nothing looks right, so that every entry must be written.

    Keys and values go into every other token and head by head, as into a cache.
    """
    batch, tokens, heads, head_dim = arguments["x"].shape
    kv_heads = arguments["kv_heads"]
    room = arguments["x"].new_full((2, batch, kv_heads, 2 * tokens, head_dim), 1e4)
    key, value = room[:, :, :, ::2].transpose(2, 3)
    sizes = (batch, tokens, heads - 2 * kv_heads, head_dim)
    return QueryKeyValue(arguments["x"].new_full(sizes, 1e4), key, value)


def check(arguments: Arguments, got: QueryKeyValue, tolerance: Tolerance) -> None:
    """Asserts that `got` lies within `tolerance` of the reference, and values are as they were.

    The two products of a pair may cancel, so what is tolerated grows with the head's length.
    """
    wanted = rotary(**arguments, backend=REFERENCE)
    for name in ("query", "key"):
        want = getattr(wanted, name)
        longest = want.float().nan_to_num(0.0, 0.0, 0.0).norm(dim=-1).max() if want.numel() else 0.0
        scaled = Tolerance(tolerance.relative, tolerance.absolute * max(1.0, float(longest)))
        assert_close(getattr(got, name), want, scaled, name)
    assert_close(got.value, wanted.value, Tolerance(0.0, 0.0), "value")
