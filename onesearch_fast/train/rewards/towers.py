"""The three-tower reward model: click, conversion, and both, from embeddings of what is known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from onesearch_fast.data.split import TrainLog
from onesearch_fast.errors import invalid
from onesearch_fast.train.config import TowersConfig
from onesearch_fast.train.rewards.behaviour import (
    CLICKED,
    ORDERED_ELSEWHERE,
    QuerySession,
)
from onesearch_fast.train.rewards.relevance import RelevanceModel

FloatArray = npt.NDArray[np.float32]

_PAST = 50


class Towers(nn.Module):
    """Three logits from a query, a past and an item, as vectors of one text encoder.

    The past is read by attention of the item over the user's items, as SIM does; each tower is a
    layer of its own over what all of them share: the three vectors and the products of the item's
    with the others. Source: OneSearch, arXiv 2509.03236, section 3.4.
    """

    def __init__(self, dim: int, hidden_size: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, hidden_size)
        self.towers = nn.ModuleList(
            nn.Sequential(
                nn.Linear(5 * hidden_size, hidden_size), nn.GELU(), nn.Linear(hidden_size, 1)
            )
            for _ in range(3)
        )

    def forward(
        self, query: torch.Tensor, item: torch.Tensor, past: torch.Tensor, length: torch.Tensor
    ) -> torch.Tensor:
        """query, item [rows, dim], past [rows, events, dim], length [rows] -> [rows, 3].

        The logits are those of a click, of an order after a click, and of an order.
        """
        asked, wanted, seen = (self.project(one) for one in (query, item, past))
        inside = torch.arange(past.shape[1], device=past.device) < length[:, None]
        fit = (seen @ wanted[:, :, None])[..., 0] / wanted.shape[1] ** 0.5
        # A user without a past attends to zeros alone.
        share = fit.masked_fill(~inside, -1e9).softmax(-1) * inside
        user = (share[:, None] @ seen)[:, 0]
        shared = torch.cat([asked, wanted, user, asked * wanted, user * wanted], dim=1)
        return torch.cat([tower(shared) for tower in self.towers], dim=1)


class RewardModel:
    """Scores items for a query and a user; fitted on the query sessions of a log.

    Args:
        item_vectors: float32 [num_items, dim].
        query_vectors: distinct query -> float32 [dim].
    """

    def __init__(
        self,
        log: TrainLog,
        item_vectors: FloatArray,
        query_vectors: dict[str, FloatArray],
        relevance: RelevanceModel,
        config: TowersConfig | None = None,
    ) -> None:
        self._config = config or TowersConfig()
        self._log = log
        self._items = torch.from_numpy(item_vectors)
        self._queries = query_vectors
        self._relevance = relevance
        torch.manual_seed(self._config.seed)
        self.towers = Towers(item_vectors.shape[1], self._config.hidden_size)

    def fit(self, sessions: Sequence[QuerySession]) -> list[float]:
        """Trains the towers by binary cross-entropy; returns the mean loss of every epoch.

        A click is any behaviour of the first three levels, an order one of the first two; the
        conversion tower learns from clicks alone.
        """
        if not sessions:
            raise invalid("RewardModel.fit", "sessions", "at least one", "none")
        optimizer = torch.optim.AdamW(self.towers.parameters(), self._config.learning_rate)
        rng = np.random.default_rng(self._config.seed)
        means = []
        for _ in range(self._config.epochs):
            order = rng.permutation(len(sessions))
            pieces = np.array_split(order, -(-len(order) // self._config.batch_size))
            losses = [
                self._train_step([sessions[at] for at in piece], optimizer) for piece in pieces
            ]
            means.append(float(np.mean(losses)))
        return means

    @torch.no_grad()
    def score(self, session: QuerySession, rows: Sequence[int]) -> npt.NDArray[np.float64]:
        """float64 [num_rows]: what the items are worth to the user of the session."""
        a, b, c, d = self._config.weights
        rates = torch.sigmoid(self._logits([session] * len(rows), rows)).double().numpy()
        relevance = self._relevance.tiers(session.query, rows)
        total: npt.NDArray[np.float64] = rates @ np.array([a, b, c]) + 10.0 * d * relevance / 3.0
        return total

    def _train_step(
        self, sessions: Sequence[QuerySession], optimizer: torch.optim.Optimizer
    ) -> float:
        pairs = [
            (session, one.row, one.level)
            for session in sessions
            for one in (*session.wanted, *session.unwanted)
        ]
        logits = self._logits([pair[0] for pair in pairs], [pair[1] for pair in pairs])
        level = torch.tensor([pair[2] for pair in pairs])
        loss = tower_loss(logits, level >= CLICKED, level >= ORDERED_ELSEWHERE)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return float(loss.detach())

    def _logits(self, sessions: Sequence[QuerySession], rows: Sequence[int]) -> torch.Tensor:
        pasts = [
            [event.row for event in self._log.histories[one.user].events[: one.begin]][-_PAST:]
            for one in sessions
        ]
        length = torch.tensor([len(past) for past in pasts])
        padded = torch.zeros(len(pasts), max(1, int(length.max())), dtype=torch.long)
        for place, past in enumerate(pasts):
            padded[place, : len(past)] = torch.tensor(past, dtype=torch.long)
        queries = torch.from_numpy(np.stack([self._queries[one.query] for one in sessions]))
        logits: torch.Tensor = self.towers(
            queries, self._items[list(rows)], self._items[padded], length
        )
        return logits


def tower_loss(logits: torch.Tensor, clicked: torch.Tensor, ordered: torch.Tensor) -> torch.Tensor:
    """Sum of three mean binary cross-entropies: click, order among clicks, order; [rows, 3] -> [].

    Without a click in the batch there is nothing to learn of conversion: that term is 0.
    """
    loss = torch.nn.functional.binary_cross_entropy_with_logits
    bought = ordered.float()
    total = loss(logits[:, 0], clicked.float()) + loss(logits[:, 2], bought)
    if clicked.any():
        total = total + loss(logits[clicked, 1], bought[clicked])
    return total


def moved_by(
    generated: Sequence[int], scores: npt.NDArray[np.float64]
) -> tuple[list[int], list[int]]:
    """Items that a reward model ranks above their generated place, and below it, best first.

    `generated` are rows in the order of the generator, `scores` what the model gives each. Items
    that stay where they are say nothing, and are in neither list.
    """
    order = np.argsort(-scores, kind="stable")
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    up = [generated[at] for at in order.tolist() if place[at] < at]
    down = [generated[at] for at in order.tolist() if place[at] > at]
    return up, down
