"""One level of a trie-constrained beam search for a batch: contract, checks, dispatch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from numbers import Integral

import torch

from onesearch_fast.errors import invalid
from onesearch_fast.index.item_filter import ItemFilter
from onesearch_fast.index.sid_trie import SidTrie
from onesearch_fast.registry import Operator, Tolerance, select

NORMALIZERS = ("level", "children", "none", "vocab")
MAX_BEAMS = 65536

OPERATOR = Operator(
    name="constrained_beam_step",
    axes={
        "logits": ("batch", "beam_in", "code"),
        "node": ("batch", "beam_in"),
        "beam_scores": ("batch", "beam_in"),
        "log_normalizer": ("batch", "beam_in"),
        "out.scores": ("batch", "num_beams"),
        "out.parent_beam": ("batch", "num_beams"),
        "out.tokens": ("batch", "num_beams"),
        "out.node": ("batch", "num_beams"),
        "out.count": ("batch",),
    },
    dtypes=(torch.float32, torch.bfloat16, torch.float16),
    # Every dtype is widened to float32 first, so one tolerance serves all: log-sum-exp's rounding.
    tolerance=dict.fromkeys((torch.float32, torch.bfloat16, torch.float16), Tolerance(1e-5, 1e-5)),
    exact=("out.count",),
)


@dataclass(frozen=True)
class BeamStepResult:
    """The surviving beams of each request, best first; past `count` stand -inf, -1, -1, -1.

    Attributes:
        scores: [batch, num_beams] float32, summed log-probabilities in nats, descending.
        parent_beam: [batch, num_beams] int32, the input beam that each survivor extends.
        tokens: [batch, num_beams] int32, the code it was extended by, local to the level.
        node: [batch, num_beams] int32, its trie node at level + 1; after the last level the SID's
            rank.
        count: [batch] int32, how many entries are survivors.
    """

    scores: torch.Tensor
    parent_beam: torch.Tensor
    tokens: torch.Tensor
    node: torch.Tensor
    count: torch.Tensor

    def __post_init__(self) -> None:
        # Here rather than in every step, which then compares one shape only.
        beams, device = self.scores.shape, self.scores.device
        _check_tensor("out.scores", self.scores, _FLOAT, beams, device)
        for name in ("parent_beam", "tokens", "node"):
            _check_tensor(f"out.{name}", getattr(self, name), _INT, beams, device)
        _check_tensor("out.count", self.count, _INT, beams[:1], device)
        columns = (self.scores, self.parent_beam, self.tokens, self.node, self.count)
        # Tensors without memory, empty or meta, have the address 0.
        addresses = [column.data_ptr() for column in columns if column.data_ptr()]
        if len(set(addresses)) < len(addresses):
            remedy = "use BeamStepResult.empty"
            raise _bad("out", "memory of its own for each tensor", "memory shared", remedy)

    @classmethod
    def empty(
        cls, batch: int, num_beams: int, device: str | torch.device = "cpu"
    ) -> BeamStepResult:
        """Uninitialised memory for a result, to be passed as `out=` again and again."""
        beams = (batch, num_beams)
        ids = partial(torch.empty, dtype=torch.int32, device=device)
        scores = torch.empty(beams, dtype=torch.float32, device=device)
        return cls(scores, ids(beams), ids(beams), ids(beams), ids(batch))


def constrained_beam_step(
    logits: torch.Tensor,
    node: torch.Tensor,
    beam_scores: torch.Tensor,
    trie: SidTrie,
    num_beams: int,
    level: int,
    *,
    normalizer: str = "level",
    log_normalizer: torch.Tensor | None = None,
    filter: ItemFilter | Sequence[ItemFilter | None] | None = None,
    out: BeamStepResult | None = None,
    backend: str | None = None,
) -> BeamStepResult:
    """Extends each beam by each code that leads to an item; keeps the best `num_beams` a request.

    For beam i of a request and every child token t of node[i] in the trie:

        score(i, t) = beam_scores[i] + (logits[i, t] - normaliser(i))          in float32

    normaliser(i) is, by `normalizer`:
        "level"     log-sum-exp of logits[i, :], the codes of this level (default);
        "children"  log-sum-exp of logits[i, t] over the children t of node[i];
        "none"      0;
        "vocab"     log_normalizer[i], the log-sum-exp over the model's whole vocabulary.
    It is taken before filters, so filtered scores equal those of a search that filters afterwards.

    The `num_beams` largest scores of a request survive; ties go to the lower parent, then to the
    lower token. Only finite scores are candidates, so a request with fewer valid SIDs than beams
    has a smaller `count`. A beam is dead (no candidates) when its node is -1 or out of range, or
    its logits hold NaN or +inf, or, with "vocab", its log_normalizer is not finite.

    Args:
        logits: [batch, beam_in, level_sizes[level]] float32, bfloat16 or float16, any strides;
            codes local to the level.
        node: [batch, beam_in] int32, trie nodes at `level`; at level 0 beam_in is 1, the node 0.
        beam_scores: [batch, beam_in] float32, nats; 0 at level 0.
        trie: the catalogue's `SidTrie`.
        num_beams: survivors per request, 1 to 65536; may exceed the number of candidates.
        level: which code is being chosen, 0 <= level < trie.num_levels.
        normalizer: one of "level", "children", "none", "vocab".
        log_normalizer: [batch, beam_in] float32; required by "vocab", refused by the others.
        filter: one `ItemFilter` of this trie for all requests, or a sequence with one (or None) per
            request; a child survives when some allowed item lies below it.
        out: memory to fill and return instead of allocating; must not share memory with the inputs.
        backend: "cpu" or "torch"; None for the best available.

    Returns:
        `out`, or a new `BeamStepResult`.

    Raises:
        TypeError: an argument of the wrong type or dtype.
        ValueError: a wrong shape, device, range or name, a filter of another trie, or a tensor that
            requires grad.
        BackendUnavailable: the named backend cannot run here; the message says why.

    Cost: reads batch * beam_in * level_sizes[level] logits once, then the children of the live
    beams. The same bits for the same request, whatever its batch neighbours and the number of
    threads, on one backend. Not differentiable.
    Source: trie-constrained decoding after Su et al. 2026 (arXiv 2602.22647); the fused, exact
    selection is ours.
    """
    _check_search(trie, num_beams, level)
    beams, device = _check_logits(logits, trie.level_sizes[level], level)
    _check_tensor("node", node, _INT, beams, device)
    _check_tensor("beam_scores", beam_scores, _FLOAT, beams, device)
    _check_normalizer(normalizer, log_normalizer)
    if log_normalizer is not None:
        _check_tensor("log_normalizer", log_normalizer, _FLOAT, beams, device)
    filters = None if filter is None else _one_filter_per_request(filter, trie, beams[0])
    implementation = select(OPERATOR, device.type, logits.dtype, backend)
    if out is None:
        out = BeamStepResult.empty(beams[0], num_beams, device)
    else:
        _check_out(out, beams[0], num_beams, device, node, beam_scores)
    implementation.function(
        logits, node, beam_scores, trie, num_beams, level, normalizer, log_normalizer, filters, out
    )
    return out


_FLOAT, _INT = (torch.float32,), (torch.int32,)
_bad = partial(invalid, OPERATOR.name)


def _check_search(trie: SidTrie, num_beams: int, level: int) -> None:
    if not isinstance(trie, SidTrie):
        raise _bad("trie", "a SidTrie", type(trie), "build one with SidTrie.build", TypeError)
    for argument, value in (("num_beams", num_beams), ("level", level)):
        if isinstance(value, bool) or not isinstance(value, Integral):  # numpy's integers count
            raise _bad(argument, "an integer", type(value), kind=TypeError)
    if not 1 <= num_beams <= MAX_BEAMS:
        raise _bad("num_beams", f"1 to {MAX_BEAMS}", num_beams)
    if not 0 <= level < trie.num_levels:
        raise _bad("level", f"a level of the trie, in [0, {trie.num_levels})", level)


def _check_logits(
    logits: torch.Tensor, level_size: int, level: int
) -> tuple[torch.Size, torch.device]:
    if not isinstance(logits, torch.Tensor):
        raise _bad("logits", "a torch.Tensor", type(logits), "use torch.as_tensor", TypeError)
    beams, device = logits.shape[:2], logits.device
    _check_tensor("logits", logits, OPERATOR.dtypes, (*beams, level_size), device)
    most = MAX_BEAMS if level else 1
    if not 1 <= beams[1] <= most:
        raise _bad("logits", f"1 to {most} beams a request at level {level}", tuple(logits.shape))
    return beams, device


def _check_tensor(
    argument: str,
    tensor: torch.Tensor,
    dtypes: tuple[torch.dtype, ...],
    shape: tuple[int, ...],
    device: torch.device,
) -> None:
    if not isinstance(tensor, torch.Tensor):
        raise _bad(argument, "a torch.Tensor", type(tensor), "use torch.as_tensor", TypeError)
    if tensor.dtype not in dtypes:
        wanted = " or ".join(map(str, dtypes))
        raise _bad(argument, wanted, tensor.dtype, "convert it with .to(dtype)", TypeError)
    if tensor.shape != shape:
        axes = ", ".join(OPERATOR.axes[argument])
        raise _bad(argument, f"[{axes}] = {tuple(shape)}", tuple(tensor.shape))
    if tensor.device != device:
        raise _bad(argument, f"a tensor on {device}, as the others are", tensor.device)
    if tensor.is_neg():
        # Its memory holds the opposite of what torch shows, and backends read memory.
        remedy = f"pass {argument}.resolve_neg()"
        raise _bad(argument, "a tensor as it lies in memory", "a negated view", remedy)
    if tensor.requires_grad:
        remedy = f"pass {argument}.detach(): the step is not differentiable"
        raise _bad(argument, "a tensor that does not require grad", "one that does", remedy)


def _check_normalizer(normalizer: str, log_normalizer: torch.Tensor | None) -> None:
    if normalizer not in NORMALIZERS:
        raise _bad("normalizer", f"one of {', '.join(NORMALIZERS)}", normalizer)
    if normalizer == "vocab" and log_normalizer is None:
        remedy = "pass the log-sum-exp over the model's whole vocabulary"
        raise _bad("log_normalizer", "a tensor with normalizer 'vocab'", None, remedy)
    if normalizer != "vocab" and log_normalizer is not None:
        remedy = "leave it out, or pass normalizer='vocab'"
        raise _bad("log_normalizer", f"None with normalizer {normalizer!r}", "a tensor", remedy)


def _one_filter_per_request(
    filter: ItemFilter | Sequence[ItemFilter | None], trie: SidTrie, batch: int
) -> tuple[ItemFilter | None, ...]:
    if not isinstance(filter, ItemFilter | Sequence):
        remedy = "make it with trie.filter"
        raise _bad("filter", "an ItemFilter or a sequence", type(filter), remedy, TypeError)
    filters = (filter,) * batch if isinstance(filter, ItemFilter) else tuple(filter)
    if len(filters) != batch:
        raise _bad("filter", f"one, or one per request ({batch})", f"{len(filters)} filters")
    for one in filters:
        if one is not None and not isinstance(one, ItemFilter):
            raise _bad("filter", "an ItemFilter", type(one), "make it with trie.filter", TypeError)
        if one is not None and one.trie is not trie:
            raise _bad("filter", "a filter of this trie", "another's", "make it with trie.filter")
    return filters


def _check_out(
    out: BeamStepResult,
    batch: int,
    num_beams: int,
    device: torch.device,
    node: torch.Tensor,
    beam_scores: torch.Tensor,
) -> None:
    if not isinstance(out, BeamStepResult):
        raise _bad("out", "a BeamStepResult", type(out), "use BeamStepResult.empty", TypeError)
    _check_tensor("out.scores", out.scores, _FLOAT, (batch, num_beams), device)
    inputs = node.data_ptr(), beam_scores.data_ptr()
    if batch and (out.node.data_ptr() in inputs or out.scores.data_ptr() in inputs):
        remedy = "alternate between two results from step to step"
        raise _bad("out", "memory of its own", "the memory of node or beam_scores", remedy)
