"""Alignment of embeddings: texts that shoppers use alike are drawn together."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from onesearch_fast.errors import invalid
from onesearch_fast.sid.alignment_config import TASKS, AlignmentConfig
from onesearch_fast.sid.transformers_encoder import TransformersEncoder

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float32]
# Rows of texts [n] -> their vectors of length 1, [n, dim], with gradient.
Embed = Callable[[IntArray], Tensor]


@dataclass(frozen=True, eq=False)
class AlignmentPairs:
    """What belongs together, as rows of one list of texts, queries and items alike.

    query_query, item_item, query_item: int64 [n, 2], taken to be alike.
    order: int64 [n, 3], a query, an item, and one that fewer who asked it went for.
    relevance: int64 [n, 2] with relevance_scores float32 [n] in [0, 1], the similarity wanted.
    """

    query_query: IntArray
    item_item: IntArray
    query_item: IntArray
    order: IntArray
    relevance: IntArray
    relevance_scores: FloatArray

    def __post_init__(self) -> None:
        for task in TASKS:
            rows, width = getattr(self, task), 3 if task == "order" else 2
            if rows.ndim != 2 or rows.shape[1] != width or rows.dtype != np.int64:
                expected = f"int64 [n, {width}]"
                raise invalid("AlignmentPairs", task, expected, f"{rows.dtype} {rows.shape}")
        scores = self.relevance_scores
        sound = scores.shape == (len(self.relevance),) and bool(
            ((scores >= 0) & (scores <= 1)).all()
        )
        if not sound:
            expected = f"{len(self.relevance)} numbers in [0, 1]"
            raise invalid("AlignmentPairs", "relevance_scores", expected, scores)

    def counts(self) -> dict[str, int]:
        """Examples of each task."""
        return {task: len(getattr(self, task)) for task in TASKS}


@dataclass(frozen=True)
class AlignmentCurve:
    """Mean loss of each task in each tenth of the steps; tasks without examples are absent."""

    losses: dict[str, tuple[float, ...]] = field(default_factory=dict)


def fit_adapter(
    vectors: FloatArray, pairs: AlignmentPairs, config: AlignmentConfig | None = None
) -> tuple[FloatArray, AlignmentCurve]:
    """Fits W [dim, dim] of e' = normalise(e + e W) over frozen `vectors` [num_texts, dim].

    W begins at zero, so that nothing changes but what the pairs ask for. Equal input, seed and
    number of torch's threads give equal bits. Cost: steps x batch x dim x (dim + batch).
    """
    config = config or AlignmentConfig()
    if vectors.ndim != 2 or not np.isfinite(vectors).all():
        expected = "finite numbers, [num_texts, dim]"
        raise invalid("fit_adapter", "vectors", expected, f"NaN, infinity or {vectors.shape}")
    frozen = torch.from_numpy(np.ascontiguousarray(vectors, np.float32))
    weight = torch.zeros(frozen.shape[1], frozen.shape[1], requires_grad=True)

    def embed(rows: IntArray) -> Tensor:
        e = frozen[torch.from_numpy(rows)]
        return functional.normalize(e + e @ weight, dim=1)

    curve = _train(embed, [weight], pairs, len(frozen), config, 1e-3)
    return weight.detach().numpy(), curve


def fine_tune(
    encoder: TransformersEncoder,
    texts: Sequence[str],
    pairs: AlignmentPairs,
    config: AlignmentConfig | None = None,
) -> AlignmentCurve:
    """Trains all weights of `encoder`, in place, on pairs of rows of `texts`.

    Cost: a forward and backward of the encoder over up to 11 batches of texts a step.
    """
    config = config or AlignmentConfig()

    def embed(rows: IntArray) -> Tensor:
        return encoder.embed([texts[row] for row in rows])

    return _train(embed, encoder.parameters(), pairs, len(texts), config, 2e-5)


def similar_pairs(pairs: IntArray, vectors: FloatArray, min_similarity: float) -> IntArray:
    """Those of `pairs` [n, 2] whose vectors have an inner product of `min_similarity` or more."""
    similarity = np.einsum("nd,nd->n", vectors[pairs[:, 0]], vectors[pairs[:, 1]])
    kept: IntArray = pairs[similarity >= min_similarity]
    return kept


def contrastive_loss(
    left: Tensor, right: Tensor, left_ids: Tensor, right_ids: Tensor, temperature: float
) -> Tensor:
    """InfoNCE both ways: row i of left [n, dim] should choose row i of right, and vice versa.

    Another row that holds the same text as the right answer, or as the asker, is no wrong answer.
    Source: van den Oord et al. 2018.
    """
    logits = left @ right.T / temperature
    same = (left_ids[:, None] == left_ids) | (right_ids[:, None] == right_ids)
    same |= left_ids[:, None] == right_ids
    same.fill_diagonal_(False)
    logits = logits.masked_fill(same, -math.inf)
    target = torch.arange(len(left), device=left.device)
    ways = functional.cross_entropy(logits, target), functional.cross_entropy(logits.T, target)
    return (ways[0] + ways[1]) / 2


def order_loss(query: Tensor, better: Tensor, worse: Tensor, margin: float) -> Tensor:
    """mean of max(0, margin - (query.better - query.worse)), all [n, dim]."""
    gap = (query * better).sum(dim=1) - (query * worse).sum(dim=1)
    return functional.relu(margin - gap).mean()


def relevance_loss(left: Tensor, right: Tensor, scores: Tensor) -> Tensor:
    """mean of (left.right - score)^2, left and right [n, dim], scores [n]."""
    return ((left * right).sum(dim=1) - scores).square().mean()


def _train(
    embed: Embed,
    parameters: Iterable[Tensor],
    pairs: AlignmentPairs,
    num_texts: int,
    config: AlignmentConfig,
    default_rate: float,
) -> AlignmentCurve:
    _check_rows(pairs, num_texts)
    weights = {
        task: weight
        for task, weight in zip(TASKS, config.weights, strict=True)
        if weight > 0 and len(getattr(pairs, task))
    }
    if not weights:
        raise invalid("alignment", "pairs", "an example of one task or more", "none")
    optimizer = torch.optim.AdamW(parameters, lr=config.learning_rate or default_rate)
    random = np.random.default_rng(config.seed)
    history: dict[str, list[float]] = {task: [] for task in weights}
    for _ in range(config.steps):
        losses = _step_losses(embed, pairs, list(weights), config, random)
        total = torch.stack([weights[task] * loss for task, loss in losses.items()]).sum()
        optimizer.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        for task, loss in losses.items():
            history[task].append(loss.item())
    return AlignmentCurve({task: _tenths(values) for task, values in history.items()})


def _step_losses(
    embed: Embed,
    pairs: AlignmentPairs,
    tasks: Sequence[str],
    config: AlignmentConfig,
    random: np.random.Generator,
) -> dict[str, Tensor]:
    """One batch of each task; every distinct text of the step is embedded once."""
    picks = {task: _draw(len(getattr(pairs, task)), config.batch_size, random) for task in tasks}
    rows = {task: getattr(pairs, task)[picks[task]] for task in tasks}
    distinct, inverse = np.unique(
        np.concatenate([r.ravel() for r in rows.values()]), return_inverse=True
    )
    vectors = embed(distinct)
    losses, begin = {}, 0
    for task, of_task in rows.items():
        ids = torch.from_numpy(inverse[begin : begin + of_task.size]).to(vectors.device)
        begin += of_task.size
        columns = ids.reshape(of_task.shape).unbind(dim=1)
        parts = [vectors[column] for column in columns]
        if task == "order":
            losses[task] = order_loss(parts[0], parts[1], parts[2], config.margin)
        elif task == "relevance":
            scores = torch.from_numpy(pairs.relevance_scores[picks[task]])
            losses[task] = relevance_loss(parts[0], parts[1], scores.to(vectors.device))
        else:
            losses[task] = contrastive_loss(
                parts[0], parts[1], columns[0], columns[1], config.temperature
            )
    return losses


def _draw(num: int, batch_size: int, random: np.random.Generator) -> IntArray:
    return random.choice(num, size=min(num, batch_size), replace=False)


def _tenths(values: Sequence[float]) -> tuple[float, ...]:
    parts = np.array_split(np.asarray(values), min(10, len(values)))
    return tuple(float(part.mean()) for part in parts)


def _check_rows(pairs: AlignmentPairs, num_texts: int) -> None:
    for task in TASKS:
        rows = getattr(pairs, task)
        if rows.size and (rows.min() < 0 or rows.max() >= num_texts):
            expected = f"rows of {num_texts} texts"
            raise invalid("alignment", f"pairs.{task}", expected, f"{rows.min()} to {rows.max()}")
