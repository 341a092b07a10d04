"""Every option of `constrained_beam_step`, on every tier, against the reference.

Numbers are multiples of 1/8, so all sums are exact and ties are many: without noise every bit must
be the reference's. Batches mix tries and snapshots of a live store, filters and none.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from onesearch_fast import _C, LiveStore, runtime
from onesearch_fast.index.catalogue import Catalogue
from onesearch_fast.ops import (
    BeamStepOptions,
    BeamStepResult,
    GumbelNoise,
    constrained_beam_step,
)
from onesearch_fast.ops.constrained_beam_step import OPERATOR
from onesearch_fast.registry import why_not
from onesearch_fast.testing import random_codes
from onesearch_fast.testing.cases.constrained_beam_step import LEVEL_SIZES, random_trie

TIERS = _C.usable_isa_tiers().split()
IDS = ("count", "parent_beam", "tokens", "node")


@contextmanager
def tier(name: str) -> Iterator[None]:
    before = runtime.cpu_info().kernels
    _C.set_isa_tier(name)
    try:
        yield
    finally:
        _C.set_isa_tier(before)


@pytest.fixture(scope="module")
def catalogues(tmp_path_factory: pytest.TempPathFactory) -> list[Catalogue]:
    """A trie, a snapshot with deletes and inserts, and one of which nothing lives."""
    folder = tmp_path_factory.mktemp("stores")
    codes = random_codes(500, LEVEL_SIZES, skew=0.5)
    with LiveStore.create(folder / "changed", codes, LEVEL_SIZES) as store:
        store.delete(np.arange(0, 500, 3))
        store.insert(np.arange(1000, 1200), random_codes(200, LEVEL_SIZES, seed=5))
        changed = store.snapshot()
    with LiveStore.create(folder / "empty", codes[:5], LEVEL_SIZES) as store:
        store.delete(np.arange(5))
        empty = store.snapshot()
    return [random_trie(), changed, empty]


def eighths(rng: np.random.Generator, *shape: int) -> torch.Tensor:
    return torch.from_numpy(rng.integers(-24, 24, shape).astype(np.float32) / 8)


def some_filter(rng: np.random.Generator, catalogue: Catalogue) -> Any:
    """None, or one that leaves many items, few, or none."""
    share = rng.choice([1.0, 0.5, 0.02, 0.0])
    ids, _ = catalogue.items(np.arange(catalogue.num_sids))
    return None if share == 1.0 else catalogue.filter(allow=ids[rng.random(len(ids)) < share])


def drawn(data: st.DataObject, catalogues: list[Catalogue]) -> dict[str, Any]:
    """Arguments of one step."""
    level, beam_in = data.draw(st.integers(0, 2)), data.draw(st.integers(1, 9))
    num_beams, batch = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 3))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**16)))
    if data.draw(st.booleans()):
        tries: Any = [catalogues[i] for i in rng.integers(0, 3, batch)]
    else:
        tries = catalogues[rng.integers(0, 2)]
    of_request = tries if isinstance(tries, list) else [tries] * batch
    shape = (batch, 1 if level == 0 else beam_in)
    most = max(1, min(one.num_nodes(level) for one in of_request))
    log_normalizer = eighths(rng, *shape) + 3
    log_normalizer[rng.random(shape) < data.draw(st.sampled_from([0.0, 0.2, 1.0]))] = torch.nan
    node = torch.from_numpy(rng.integers(-1 if level else 0, most, shape).astype(np.int32))
    return {
        "logits": eighths(rng, *shape, LEVEL_SIZES[level]),
        "node": node,
        "beam_scores": eighths(rng, *shape) if level else torch.zeros(shape),
        "trie": tries,
        "num_beams": num_beams,
        "level": level,
        "normalizer": "vocab",
        "log_normalizer": log_normalizer,
        "filter": [some_filter(rng, one) for one in of_request],
        "options": drawn_options(data, rng, tries, level, shape, num_beams),
    }


def drawn_options(
    data: st.DataObject,
    rng: np.random.Generator,
    tries: Any,
    level: int,
    shape: tuple[int, int],
    num_beams: int,
) -> BeamStepOptions:
    prior = gumbel = widths = None
    if not isinstance(tries, list) and data.draw(st.booleans()):
        prior = eighths(rng, tries.num_nodes(level + 1))
        prior[rng.random(len(prior)) < 0.1] = -torch.inf
    if data.draw(st.booleans()):
        path = torch.from_numpy(rng.integers(0, 16, (*shape, level)).astype(np.int32))
        perturbed = eighths(rng, *shape) if level else torch.zeros(shape)
        perturbed[rng.random(shape) < 0.1] = -torch.inf
        gumbel = GumbelNoise(torch.from_numpy(rng.integers(0, 2**40, shape[0])), path, perturbed)
    if data.draw(st.booleans()):
        widths = torch.from_numpy(rng.integers(1, num_beams + 1, shape[0]).astype(np.int32))
    return BeamStepOptions(
        node_prior=prior,
        max_children_per_parent=data.draw(st.none() | st.integers(1, 6)),
        sibling_penalty=data.draw(st.sampled_from([0.0, 0.5, 2.0])),
        gumbel=gumbel,
        beam_widths=widths,
    )


def assert_same(got: BeamStepResult, want: BeamStepResult) -> None:
    for name in IDS:
        assert torch.equal(getattr(got, name), getattr(want, name)), name
    assert torch.equal(got.scores, want.scores)
    assert torch.equal(got.best_dropped, want.best_dropped)
    if want.perturbed is not None:
        torch.testing.assert_close(got.perturbed, want.perturbed, atol=1e-4, rtol=1e-5)


def survivors(result: BeamStepResult, request: int) -> list[tuple[float, int, int]]:
    """Score, parent and token of each."""
    columns = (result.scores, result.parent_beam, result.tokens)
    return list(zip(*(column[request].tolist() for column in columns), strict=True))


@pytest.mark.parametrize("name", TIERS)
@settings(max_examples=60)
@given(data=st.data())
def test_options_mean_what_the_reference_means(
    catalogues: list[Catalogue], name: str, data: st.DataObject
) -> None:
    arguments = drawn(data, catalogues)
    want = constrained_beam_step(**arguments, backend="torch")
    with tier(name):
        assert_same(constrained_beam_step(**arguments, backend="cpu"), want)


@pytest.mark.skipif(why_not(OPERATOR, "triton") is not None, reason="no Triton on this CPU")
@settings(max_examples=40)
@given(data=st.data())
def test_options_mean_the_same_in_triton(catalogues: list[Catalogue], data: st.DataObject) -> None:
    arguments = drawn(data, catalogues)
    want = constrained_beam_step(**arguments, backend="cpu")
    assert_same(constrained_beam_step(**arguments, backend="triton"), want)


@pytest.mark.parametrize("name", TIERS)
@settings(max_examples=30)
@given(data=st.data())
def test_what_is_dropped_is_the_best_of_what_is_not_kept(
    catalogues: list[Catalogue], name: str, data: st.DataObject
) -> None:
    """Against a step wide enough to keep every candidate, where nothing but dead rows is lost."""
    arguments = drawn(data, catalogues)
    if arguments["options"].gumbel is not None:
        arguments["options"].gumbel.perturbed.clamp_(min=-3)  # of -inf leaves no candidate either
    # A prior of -inf leaves no candidate; nothing else about options does.
    all_candidates = BeamStepOptions(node_prior=arguments["options"].node_prior)
    everything = arguments | {"num_beams": 2000, "options": all_candidates}
    with tier(name):
        got = constrained_beam_step(**arguments, backend="cpu")
        every = constrained_beam_step(**everything, backend="cpu")
    for request in range(len(got.count)):
        kept = set(survivors(got, request))
        lost = [score for score, *place in survivors(every, request) if (score, *place) not in kept]
        lost.append(float(every.best_dropped[request]))
        assert float(got.best_dropped[request]) == max(lost)
