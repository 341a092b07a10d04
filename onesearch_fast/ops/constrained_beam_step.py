"""One level of a trie-constrained beam search for a batch: contract and dispatch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import torch

from onesearch_fast import _C
from onesearch_fast.errors import invalid
from onesearch_fast.index.item_filter import ItemFilter
from onesearch_fast.index.sid_trie import SidTrie
from onesearch_fast.ops._arguments import choose
from onesearch_fast.registry import Operator, Tolerance, named_backend

NORMALIZERS = ("level", "children", "none", "vocab")
MAX_BEAMS = 65536
MAX_CUDA_BEAMS = 4096

OPERATOR = Operator(
    name="constrained_beam_step",
    axes={
        "logits": ("batch", "beam_in", "code"),
        "node": ("batch", "beam_in"),
        "beam_scores": ("batch", "beam_in"),
        "log_normalizer": ("batch", "beam_in"),
        "options.node_prior": ("node",),
        "options.beam_widths": ("batch",),
        "options.gumbel.seed": ("batch",),
        "options.gumbel.path": ("batch", "beam_in", "level"),
        "options.gumbel.perturbed": ("batch", "beam_in"),
        "out.scores": ("batch", "num_beams"),
        "out.parent_beam": ("batch", "num_beams"),
        "out.tokens": ("batch", "num_beams"),
        "out.node": ("batch", "num_beams"),
        "out.count": ("batch",),
        "out.best_dropped": ("batch",),
        "out.perturbed": ("batch", "num_beams"),
    },
    dtypes=(torch.float32, torch.bfloat16, torch.float16),
    # Every dtype is widened to float32 first, so one tolerance serves all: log-sum-exp's rounding.
    tolerance=dict.fromkeys((torch.float32, torch.bfloat16, torch.float16), Tolerance(1e-5, 1e-5)),
    exact=("out.count",),
)


@dataclass(frozen=True)
class BeamStepResult:
    """The surviving beams of each request, best first; past `count` stand -inf, -1, -1, -1.

    The tensors lie apart in memory, which must not be replaced (`resize_`, `set_`) afterwards.

    Attributes:
        scores: [batch, num_beams] float32, summed log-probabilities in nats; descending unless
            options order the beams otherwise.
        parent_beam: [batch, num_beams] int32, the input beam that each survivor extends.
        tokens: [batch, num_beams] int32, the code it was extended by, local to the level.
        node: [batch, num_beams] int32, its trie node at level + 1; after the last level the SID's
            rank.
        count: [batch] int32, how many entries are survivors.
        best_dropped: [batch] float32, the best score of a candidate that did not survive, whatever
            dropped it, or of a beam whose row is dead; -inf when nothing is lost. Scores of
            log-probabilities only fall from level to level, so final scores above every level's
            best_dropped are exact: no SID outside the beams can reach them.
        perturbed: [batch, num_beams] float32 or None, what the beams are ordered by; for
            `GumbelNoise` at the next level.
    """

    scores: torch.Tensor
    parent_beam: torch.Tensor
    tokens: torch.Tensor
    node: torch.Tensor
    count: torch.Tensor
    best_dropped: torch.Tensor
    perturbed: torch.Tensor | None = None
    _handle: _C.BeamStepResult = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Checked and looked up here rather than in every step.
        handle = _C.BeamStepResult(
            self.scores,
            self.parent_beam,
            self.tokens,
            self.node,
            self.count,
            self.best_dropped,
            self.perturbed,
        )
        object.__setattr__(self, "_handle", handle)

    @classmethod
    def empty(
        cls,
        batch: int,
        num_beams: int,
        device: str | torch.device = "cpu",
        perturbed: bool = False,
    ) -> BeamStepResult:
        """Uninitialised memory for a result, to be passed as `out=` again and again."""
        # Memory like other memory takes half the time to ask for.
        tokens = torch.empty(batch, num_beams, dtype=torch.int32, device=device)
        count = torch.empty(batch, dtype=torch.int32, device=device)
        scores = torch.empty_like(tokens, dtype=torch.float32)
        return cls(
            scores=scores,
            parent_beam=torch.empty_like(tokens),
            tokens=tokens,
            node=torch.empty_like(tokens),
            count=count,
            best_dropped=torch.empty_like(count, dtype=torch.float32),
            perturbed=torch.empty_like(scores) if perturbed else None,
        )


@dataclass(frozen=True)
class GumbelNoise:
    """Stochastic beams: a sample without replacement, by Gumbel top-k.

    Child t of beam i has the perturbed weight g = weight(i, t) + Gumbel(seed, path[i], t), moved
    monotonically so that the largest of its siblings' is perturbed[i]:

        key(i, t) = -log(exp(-perturbed[i]) - exp(-max of g over siblings) + exp(-g))

    The noise is a hash of the seed and the codes alone, so neither batch order nor threads nor
    backends change it. Down all levels the beams are a sample without replacement of SIDs, each
    level's weights being taken relative to their siblings'.

    Attributes:
        seed: one for all requests, or int64 [batch].
        path: [batch, beam_in, level] int32, the codes that led to each beam.
        perturbed: [batch, beam_in] float32, zeros at level 0, then `BeamStepResult.perturbed`.

    Source: Kool et al. 2019 (arXiv 1903.06059), algorithm 1 and appendix B.3.
    """

    seed: int | torch.Tensor
    path: torch.Tensor
    perturbed: torch.Tensor

    @property
    def seeds(self) -> torch.Tensor:
        """int64 [batch]."""
        if isinstance(self.seed, torch.Tensor):
            return self.seed
        return torch.tensor(self.seed, device=self.path.device).expand(self.path.shape[:1])


@dataclass(frozen=True)
class BeamStepOptions:
    """What else decides which candidates survive, and in which order; `scores` stay plain sums.

        weight = score + node_prior[child] - sibling_penalty * rank among siblings
        key = weight, or the perturbed weight with `gumbel`

    Siblings are the candidates of one beam; their ranks go from 0 by score, ties to the lower
    token. Weights that are not finite make no candidates. A request's candidates of the largest
    keys survive, `max_children_per_parent` at most of one beam, `beam_widths` in all.

    Attributes:
        node_prior: [num_nodes(level + 1)] float32, nats; needs one trie for all requests.
        max_children_per_parent: at least 1; None for any number.
        sibling_penalty: at least 0, nats (diverse beams: Li et al. 2016, arXiv 1611.08562).
        gumbel: noise for stochastic beams.
        beam_widths: [batch] int32, each from 1 to num_beams; None for num_beams everywhere.
    """

    node_prior: torch.Tensor | None = None
    max_children_per_parent: int | None = None
    sibling_penalty: float = 0.0
    gumbel: GumbelNoise | None = None
    beam_widths: torch.Tensor | None = None
    _handle: _C.BeamStepOptions = field(init=False, repr=False, compare=False)

    @property
    def reorders(self) -> bool:
        """Whether more than scores and widths decides."""
        penalised = self.sibling_penalty != 0 or self.max_children_per_parent is not None
        return penalised or self.node_prior is not None or self.gumbel is not None

    def __post_init__(self) -> None:
        most, gumbel = self.max_children_per_parent, self.gumbel
        if most is not None and most < 1:
            raise _bad("options.max_children_per_parent", "at least 1, or None", most)
        handle = _C.BeamStepOptions(
            self.node_prior,
            most or 0,
            self.sibling_penalty,
            self.beam_widths,
            gumbel and gumbel.seeds,
            gumbel and gumbel.path,
            gumbel and gumbel.perturbed,
        )
        object.__setattr__(self, "_handle", handle)


def constrained_beam_step(
    logits: torch.Tensor,
    node: torch.Tensor,
    beam_scores: torch.Tensor,
    trie: SidTrie | Sequence[SidTrie],
    num_beams: int,
    level: int,
    *,
    normalizer: str = "level",
    log_normalizer: torch.Tensor | None = None,
    filter: ItemFilter | Sequence[ItemFilter | None] | None = None,
    options: BeamStepOptions | None = None,
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

    Candidates are the children of finite score below which an allowed item lives. The `num_beams`
    largest scores of a request survive, or what `options` make of it; ties go to the lower parent,
    then to the lower token. A request with fewer candidates than beams has a smaller `count`. A
    beam of node -1, or out of range, has no candidates, nor has one whose score is not finite or
    whose row is dead: logits that hold NaN or +inf (with "vocab", whose caller has read them, they
    are not looked at), or a normaliser that is not finite.

        best_dropped = max(score(i, t) of candidates that do not survive,
                           beam_scores[i] of dead rows below which an allowed item lives)

    Args:
        logits: [batch, beam_in, level_sizes[level]] float32, bfloat16 or float16, any strides;
            codes local to the level.
        node: [batch, beam_in] int32, trie nodes at `level`; at level 0 beam_in is 1, the node 0.
        beam_scores: [batch, beam_in] float32, nats; 0 at level 0.
        trie: a `SidTrie` or a `Snapshot`, or a sequence with one per request, of equal level sizes.
        num_beams: survivors per request, 1 to 65536; may exceed the number of candidates.
        level: which code is being chosen, 0 <= level < trie.num_levels.
        normalizer: one of "level", "children", "none", "vocab".
        log_normalizer: [batch, beam_in] float32; required by "vocab", refused by the others.
        filter: one `ItemFilter` of this trie for all requests, or a sequence with one (or None) per
            request.
        options: priors, quotas, diversity, noise and widths per request.
        out: memory to fill and return instead of allocating; must not share memory with the inputs.
        backend: "cpu", "cuda", "triton" or "torch"; None for the best available. "cuda" keeps up to
            4096 beams and takes no options but widths; on a GPU, None is "triton" for the rest.

    Returns:
        `out`, or a new `BeamStepResult`.

    Raises:
        TypeError: an argument of the wrong type or dtype.
        ValueError: a wrong shape, device, range or name, a filter of another trie, or, with
            gradients enabled, a tensor that requires grad.
        BackendUnavailable: the named backend cannot run here; the message says why.

    Cost: one read of the logits of the beams that can still contribute (none with "vocab"), then
    the children of those beams. The same bits for the same request, whatever its batch neighbours
    and the number of threads, on one backend. Not differentiable.
    Source: trie-constrained decoding after Su et al. 2026 (arXiv 2602.22647); the fused, exact
    selection is ours.
    """
    compute = choose(OPERATOR, "logits", logits, backend or _needed(logits, num_beams, options))
    if out is None:
        out = _new_result(logits, num_beams, options)
    compute(
        logits,
        node,
        beam_scores,
        trie,
        num_beams,
        level,
        normalizer,
        log_normalizer,
        filter,
        options,
        out,
    )
    return out


def _needed(logits: torch.Tensor, num_beams: int, options: BeamStepOptions | None) -> str | None:
    """The one backend of a GPU that does all, for what its first does not."""
    if not isinstance(logits, torch.Tensor) or not logits.is_cuda or named_backend() is not None:
        return None
    wide = hasattr(num_beams, "__index__") and num_beams > MAX_CUDA_BEAMS
    reorders = isinstance(options, BeamStepOptions) and options.reorders
    return "triton" if wide or reorders else None


def _new_result(
    logits: torch.Tensor, num_beams: int, options: BeamStepOptions | None
) -> BeamStepResult:
    # What is no number of beams is refused later; memory for it must not be asked for.
    beams = min(max(num_beams, 1), MAX_BEAMS) if hasattr(num_beams, "__index__") else 1
    noisy = options is not None and options.gumbel is not None
    return BeamStepResult.empty(logits.shape[0], beams, logits.device, perturbed=noisy)


_bad = partial(invalid, OPERATOR.name)
