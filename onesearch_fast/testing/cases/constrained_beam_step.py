"""Inputs of `constrained_beam_step`, plain, degenerate and hostile, and how to judge a result."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch

from onesearch_fast.index.sid_trie import SidTrie
from onesearch_fast.ops.constrained_beam_step import (
    MAX_BEAMS,
    NORMALIZERS,
    BeamStepResult,
    constrained_beam_step,
)
from onesearch_fast.registry import REFERENCE, Tolerance
from onesearch_fast.testing.cases import INF, NAN, Alter, Arguments, Case, altered, plain
from onesearch_fast.testing.closeness import assert_close
from onesearch_fast.testing.tries import random_codes

LEVEL_SIZES = (24, 37, 16)


@functools.cache
def random_trie(
    num_items: int = 600, level_sizes: tuple[int, ...] = LEVEL_SIZES, skew: float = 0.0
) -> SidTrie:
    """A trie over `random_codes`; the same one at every call."""
    return SidTrie.build(random_codes(num_items, level_sizes, skew=skew), level_sizes)


def random_step(
    dtype: torch.dtype,
    trie: SidTrie,
    level: int = 1,
    batch: int = 3,
    beam_in: int = 8,
    num_beams: int = 8,
    normalizer: str = "level",
) -> Arguments:
    """Arguments of one step from random beams of `level`, some of them dead when there is room."""
    generator = torch.Generator().manual_seed(level + 10 * beam_in + 1000 * num_beams)
    beams = (batch, 1 if level == 0 else beam_in)
    node = torch.randint(0, trie.num_nodes(level), beams, generator=generator, dtype=torch.int32)
    node[:, 3::7] = -1
    logits = 4 * torch.randn((*beams, trie.level_sizes[level]), generator=generator)
    arguments: Arguments = {
        "logits": logits.to(dtype),
        "node": node,
        "beam_scores": -8 * torch.rand(beams, generator=generator) if level else torch.zeros(beams),
        "trie": trie,
        "num_beams": num_beams,
        "level": level,
        "normalizer": normalizer,
    }
    if normalizer == "vocab":
        arguments["log_normalizer"] = logits.logsumexp(-1) + torch.rand(beams, generator=generator)
    return arguments


def _random_step(
    dtype: torch.dtype, trie: Callable[[], SidTrie] = random_trie, **choices: Any
) -> Arguments:
    return random_step(dtype, trie(), **choices)


_plain = functools.partial(plain, _random_step)
_altered = functools.partial(altered, _random_step)


def _tie_all(arguments: Arguments) -> None:
    arguments["logits"].fill_(0.5)
    arguments["beam_scores"].fill_(-1.0)


def _tie_many(arguments: Arguments) -> None:
    arguments["logits"].div_(4).round_()
    arguments["beam_scores"].round_()


def _tie_signed_zeros(arguments: Arguments) -> None:
    arguments["logits"].copy_(torch.where(arguments["logits"] > 0, 0.0, -0.0))
    arguments["beam_scores"].copy_(torch.where(arguments["beam_scores"] > -4, 0.0, -0.0))


def _repeat_nodes(arguments: Arguments) -> None:
    arguments["node"][:, 1::2] = arguments["node"][:, 0::2]
    arguments["beam_scores"][:, 1::2] = arguments["beam_scores"][:, 0::2]
    arguments["logits"][:, 1::2] = arguments["logits"][:, 0::2]


def _poison_logits(arguments: Arguments) -> None:
    logits = arguments["logits"]
    logits[0, 0, 5] = NAN
    logits[0, 1, 0] = INF
    logits[0, 2, -1] = -INF
    logits[0, 4] = -INF
    logits[0, 5, 2], logits[0, 5, 9] = INF, NAN
    logits[0, 6, 1:] = -INF
    logits[1] = NAN
    logits[2, :, ::3] = -INF


def _only_one_finite(arguments: Arguments) -> None:
    arguments["logits"][:, :, 1:] = -INF


def _poison_beam_scores(arguments: Arguments) -> None:
    arguments["beam_scores"][0, :3] = torch.tensor([NAN, INF, -INF])
    arguments["beam_scores"][1] = -INF


def _poison_ranked_beams(arguments: Arguments) -> None:
    """Dead rows: of the best beam, of the worst, and of beams that lose nothing thereby."""
    scores, node = arguments["beam_scores"], arguments["node"]
    dead = torch.zeros(scores.shape, dtype=torch.bool)
    dead[0, scores[0].argmax()] = True
    dead[1, scores[1].argmin()] = True
    dead[2, :4] = True
    scores[2, :2] = torch.tensor([-INF, NAN])
    node[2, 2:4] = torch.tensor([-1, arguments["trie"].num_nodes(arguments["level"])])
    arguments["logits"][dead] = NAN
    if "log_normalizer" in arguments:
        arguments["log_normalizer"][dead] = NAN


def _poison_rows_and_filter(arguments: Arguments) -> None:
    _poison_ranked_beams(arguments)
    arguments["filter"] = _almost_nothing(arguments["trie"])


def _poison_log_normalizer(arguments: Arguments) -> None:
    arguments["log_normalizer"][0, :3] = torch.tensor([NAN, INF, -INF])
    arguments["log_normalizer"][1] = NAN


def _enlarge(arguments: Arguments) -> None:
    arguments["logits"].mul_(1000)
    arguments["beam_scores"].mul_(1e6)


def _overflow(arguments: Arguments) -> None:
    arguments["logits"].copy_(torch.where(arguments["logits"] > 0, 3e38, -3e38))
    arguments["beam_scores"].fill_(3e38)


def _kill_every_beam(arguments: Arguments) -> None:
    arguments["node"].fill_(-1)


def _leave_the_range(arguments: Arguments) -> None:
    num_nodes = arguments["trie"].num_nodes(arguments["level"])
    outside = [num_nodes, -2, 2**31 - 1, -(2**31), num_nodes + 1]
    arguments["node"][0, :5] = torch.tensor(outside, dtype=torch.int32)


def _cut_from_a_vocabulary(arguments: Arguments) -> None:
    logits = arguments["logits"]
    vocabulary = torch.full((*logits.shape[:2], logits.shape[2] + 18), NAN, dtype=logits.dtype)
    vocabulary[:, :, 7:-11] = logits
    arguments["logits"] = vocabulary[:, :, 7:-11]


def _transpose_storage(arguments: Arguments) -> None:
    for argument in ("logits", "node", "beam_scores", "log_normalizer"):
        tensor = arguments[argument]
        arguments[argument] = tensor.mT.contiguous().mT


def _skip_every_other(arguments: Arguments) -> None:
    for argument in ("logits", "node", "beam_scores", "log_normalizer"):
        arguments[argument] = arguments[argument].repeat_interleave(2, dim=-1)[..., ::2]


def _share_one_row(arguments: Arguments) -> None:
    arguments["logits"] = arguments["logits"][:1, :1].expand_as(arguments["logits"])


def _filter(make: Callable[[SidTrie], Any]) -> Alter:
    def alter(arguments: Arguments) -> None:
        arguments["filter"] = make(arguments["trie"])

    return alter


def _every_third(trie: SidTrie) -> Any:
    return trie.filter(allow=np.arange(trie.num_items) % 3 == 0)


def _different(trie: SidTrie) -> Any:
    return [_every_third(trie), None, trie.filter(deny=np.arange(0, trie.num_items, 2))]


def _almost_nothing(trie: SidTrie) -> Any:
    one_item = np.zeros(1, dtype=np.int64)
    return [trie.filter(allow=one_item), trie.filter(allow=one_item[:0]), _every_third(trie)]


def _one_item() -> SidTrie:
    return random_trie(1)


def _few_items() -> SidTrie:
    return random_trie(3)


def _eight_levels() -> SidTrie:
    return random_trie(300, (3,) * 8)


def _smallest_levels() -> SidTrie:
    return random_trie(5, (2, 2, 2))


def _largest_level() -> SidTrie:
    return random_trie(2000, (2, 65536))


def _skewed() -> SidTrie:
    return random_trie(20000, (64, 300, 8), skew=1.2)


def _of_normalizers(name: str, alter: Alter, **choices: Any) -> tuple[Case, ...]:
    return tuple(
        Case(f"{name}-{normalizer}", _altered(alter, normalizer=normalizer, **choices))
        for normalizer in NORMALIZERS
    )


CASES = (
    *(Case(f"plain-{name}", _plain(normalizer=name)) for name in NORMALIZERS),
    Case("level_0", _plain(level=0)),
    Case("level_0-children", _plain(level=0, normalizer="children", num_beams=100)),
    Case("last_level", _plain(level=2, beam_in=40, num_beams=40)),
    *(
        Case(f"eight_levels-{level}", _plain(trie=_eight_levels, level=level))
        for level in (0, 4, 7)
    ),
    Case("one_item", _plain(trie=_one_item)),
    Case("few_items", _plain(trie=_few_items, level=0)),
    Case("smallest_levels", _plain(trie=_smallest_levels, level=2)),
    Case("largest_level", _plain(trie=_largest_level, batch=1, beam_in=2, num_beams=50)),
    Case("one_beam", _plain(beam_in=1, num_beams=1)),
    Case("more_beams_than_candidates", _plain(num_beams=1000)),
    Case("fewer_beams_than_parents", _plain(beam_in=50, num_beams=3)),
    Case("wide", _plain(trie=_skewed, beam_in=70, num_beams=300)),
    Case("wide-children", _plain(trie=_skewed, beam_in=70, num_beams=300, normalizer="children")),
    Case("no_requests", _plain(batch=0)),
    Case("many_requests", _plain(batch=37, beam_in=5)),
    *_of_normalizers("ties_everywhere", _tie_all, num_beams=30),
    Case("ties-none", _altered(_tie_many, beam_in=30, num_beams=30, normalizer="none")),
    Case("ties-level", _altered(_tie_many, beam_in=30, num_beams=30)),
    Case("signed_zeros", _altered(_tie_signed_zeros, num_beams=30, normalizer="none")),
    *_of_normalizers("poisoned_logits", _poison_logits, num_beams=60),
    *_of_normalizers("only_one_finite", _only_one_finite, num_beams=60),
    *_of_normalizers("poisoned_beam_scores", _poison_beam_scores),
    *_of_normalizers("poisoned_ranked_beams", _poison_ranked_beams),
    *_of_normalizers("poisoned_ranked_beams-few", _poison_ranked_beams, num_beams=2),
    *_of_normalizers("poisoned_ranked_beams-filter", _poison_rows_and_filter, num_beams=30),
    Case("poisoned_log_normalizer", _altered(_poison_log_normalizer, normalizer="vocab")),
    *_of_normalizers("large_values", _enlarge),
    Case("overflow", _altered(_overflow, normalizer="none", num_beams=60)),
    Case("repeated_nodes", _altered(_repeat_nodes, num_beams=30)),
    Case("all_dead", _altered(_kill_every_beam)),
    Case("nodes_out_of_range", _altered(_leave_the_range, num_beams=30)),
    Case("cut_from_a_vocabulary", _altered(_cut_from_a_vocabulary)),
    Case("transposed_storage", _altered(_transpose_storage, normalizer="vocab")),
    Case("every_other_element", _altered(_skip_every_other, normalizer="vocab")),
    Case("shared_row", _altered(_share_one_row)),
    *_of_normalizers("one_filter", _filter(_every_third)),
    *_of_normalizers("filter_per_request", _filter(_different), num_beams=30),
    Case("filters_of_almost_nothing", _altered(_filter(_almost_nothing), num_beams=30)),
    Case("filter-level_0", _altered(_filter(_almost_nothing), level=0)),
    Case("filter-last_level", _altered(_filter(_different), level=2, beam_in=40, num_beams=40)),
    Case("filter-eight_levels", _altered(_filter(_different), trie=_eight_levels, level=5)),
)


def poisoned(arguments: Arguments) -> BeamStepResult:
    """Memory for the result in which nothing looks right, so that every entry must be written."""
    result = BeamStepResult.empty(arguments["logits"].shape[0], arguments["num_beams"])
    result.scores.fill_(NAN)
    result.best_dropped.fill_(NAN)
    for ids in (result.parent_beam, result.tokens, result.node, result.count):
        ids.fill_(0x5EED)
    return result


def check(arguments: Arguments, got: BeamStepResult, tolerance: Tolerance) -> None:
    """Asserts that `got` is a right answer to `arguments`.

    Without a log-sum-exp ("none", "vocab") a score is one addition and one subtraction, so every
    bit must equal the reference's. Else counts must be equal, scores within tolerance, equal scores
    in the order of parent and token, and each survivor must be a candidate of the reference with
    that node and, within tolerance, that score.
    """
    exact = arguments["normalizer"] in ("none", "vocab")
    ranking, lost = _rank_all(arguments)
    for request, candidates in enumerate(ranking):
        count = min(len(candidates), arguments["num_beams"])
        if int(got.count[request]) != count:
            raise AssertionError(f"count of {request}: {int(got.count[request])}, want {count}")
        survivors = _survivors(got, request, count)
        if exact and survivors != candidates[:count]:
            raise AssertionError(f"request {request}: {survivors}, want {candidates[:count]}")
        _check_scores(survivors, candidates, tolerance)
        _check_order(survivors)
        _check_padding(got, request, count)
        dropped = [candidate.score for candidate in candidates[count:]]
        want = max([float(lost[request]), *dropped])
        assert_close(got.best_dropped[request], torch.tensor(want), tolerance, "best_dropped")


class _Survivor(NamedTuple):
    score: float
    parent_beam: int
    token: int
    node: int


def _survivors(result: BeamStepResult, request: int, count: int) -> list[_Survivor]:
    columns = (result.scores, result.parent_beam, result.tokens, result.node)
    rows = zip(*(column[request, :count].tolist() for column in columns), strict=True)
    return [_Survivor(*row) for row in rows]


def _rank_all(arguments: Arguments) -> tuple[list[list[_Survivor]], torch.Tensor]:
    """Every candidate of each request, best first, and what dead rows lose, by the reference."""
    _, beam_in, codes = arguments["logits"].shape
    everything = arguments | {"num_beams": min(beam_in * codes, MAX_BEAMS), "backend": REFERENCE}
    ranking = constrained_beam_step(**everything)
    counts = ranking.count.tolist()
    ranked = [_survivors(ranking, request, count) for request, count in enumerate(counts)]
    return ranked, ranking.best_dropped


def _check_scores(
    survivors: list[_Survivor], candidates: list[_Survivor], tolerance: Tolerance
) -> None:
    own_score = {candidate[1:]: candidate.score for candidate in candidates}
    strangers = [survivor for survivor in survivors if survivor[1:] not in own_score]
    if strangers:
        raise AssertionError(f"not candidates: {strangers[:5]}")
    if len({survivor[1:] for survivor in survivors}) != len(survivors):
        raise AssertionError(f"a survivor occurs twice: {survivors}")
    got = torch.tensor([survivor.score for survivor in survivors])
    best = torch.tensor([candidate.score for candidate in candidates[: len(survivors)]])
    own = torch.tensor([own_score[survivor[1:]] for survivor in survivors])
    assert_close(got, best, tolerance, "scores")
    assert_close(got, own, tolerance, "scores of the survivors")


def _check_order(survivors: list[_Survivor]) -> None:
    keys = [(-survivor.score, survivor.parent_beam, survivor.token) for survivor in survivors]
    if keys != sorted(keys):
        raise AssertionError(f"not ordered by score, parent and token: {survivors}")


def _check_padding(got: BeamStepResult, request: int, count: int) -> None:
    if not (got.scores[request, count:] == -INF).all():
        raise AssertionError(f"request {request}: scores past count are not -inf")
    for ids in (got.parent_beam, got.tokens, got.node):
        if not (ids[request, count:] == -1).all():
            raise AssertionError(f"request {request}: ids past count are not -1")
