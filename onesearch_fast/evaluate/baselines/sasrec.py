"""SASRec with cross-entropy: a causal transformer over item ids, without any text."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from onesearch_fast.data.split import NEXT_ITEM, SEARCH, EvalCase, TrainLog
from onesearch_fast.errors import invalid
from onesearch_fast.evaluate.baselines import Baseline, BaselineContext
from onesearch_fast.evaluate.ranking import DenseRanker, Ranker, Scores, TieOrder
from onesearch_fast.evaluate.tuning import mean_ndcgs


@dataclass(frozen=True)
class SasRecConfig:
    """Sizes and training; the learning rate falls to 0 over `epochs` or `minutes`, what ends first.

    Attributes:
        max_history: events of a user that are read, the last ones.
        batch_size: users a step.
        epochs, minutes: of training, whichever ends first; None is no limit, and one of them is
            needed. Without `minutes` equal input gives equal weights.
        validations: how often NDCG@10 is taken on the stop group; the best weights are kept.
    """

    hidden_size: int = 64
    num_layers: int = 2
    num_heads: int = 2
    max_history: int = 50
    dropout: float = 0.3
    batch_size: int = 128
    epochs: int | None = 60
    learning_rate: float = 2e-3
    weight_decay: float = 0.0
    minutes: float | None = None
    validations: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        where = "SasRecConfig"
        for name in ("num_layers", "num_heads", "max_history", "batch_size"):
            if getattr(self, name) < 1:
                raise invalid(where, name, "at least 1", getattr(self, name))
        if self.hidden_size < 1 or self.hidden_size % self.num_heads:
            expected = f"a multiple of num_heads ({self.num_heads})"
            raise invalid(where, "hidden_size", expected, self.hidden_size)
        if not 0 <= self.dropout < 1:
            raise invalid(where, "dropout", "a share in [0, 1)", self.dropout)
        if self.validations < 0:
            raise invalid(where, "validations", "at least 0", self.validations)
        if not 0 < self.learning_rate < math.inf:
            raise invalid(where, "learning_rate", "more than 0", self.learning_rate)
        if self.epochs is None and self.minutes is None:
            raise invalid(where, "epochs", "a number where minutes are None", None)
        if self.epochs is not None and self.epochs < 1:
            raise invalid(where, "epochs", "at least 1, or None", self.epochs)
        if self.minutes is not None and not 0 < self.minutes < math.inf:
            raise invalid(where, "minutes", "more than 0, or None", self.minutes)


class SasRec(nn.Module):
    """p(next item | events so far) = softmax(h E^T), h the last state, E the item embeddings.

    Pre-norm, with learnt positions, trained with the cross-entropy over the whole catalogue at
    every position. Sources: Kang and McAuley 2018; Klenitskiy and Vasilev 2023 for the loss.
    """

    def __init__(self, num_items: int, config: SasRecConfig) -> None:
        super().__init__()
        self.config = config
        width = config.hidden_size
        self.items = nn.Embedding(num_items, width)
        self.positions = nn.Embedding(config.max_history, width)
        for table in (self.items, self.positions):
            nn.init.normal_(table.weight, std=0.02)
        self.dropout = nn.Dropout(config.dropout)
        layer = nn.TransformerEncoderLayer(
            width,
            config.num_heads,
            4 * width,
            config.dropout,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        self.layers = nn.TransformerEncoder(layer, config.num_layers, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(width)

    def forward(self, rows: Tensor) -> Tensor:
        """rows int64 [users, length] -> states float32 [users, length, width]."""
        length = rows.shape[1]
        places = torch.arange(length, device=rows.device)
        mask = nn.Transformer.generate_square_subsequent_mask(length, device=rows.device)
        states = self.dropout(self.items(rows) + self.positions(places))
        normed: Tensor = self.norm(self.layers(states, mask=mask, is_causal=True))
        return normed

    @torch.no_grad()
    def scores(self, cases: Sequence[EvalCase]) -> npt.NDArray[np.float32]:
        """float32 [num_cases, num_items]: logits of the next item; 0 without a history."""
        self.eval()
        recent = [[e.row for e in case.history[-self.config.max_history :]] for case in cases]
        values = np.zeros((len(cases), self.items.num_embeddings), dtype=np.float32)
        known = [place for place, rows in enumerate(recent) if rows]
        if known:
            rows, lengths = _padded([recent[place] for place in known])
            last = self(rows)[torch.arange(len(known)), lengths - 1]
            values[known] = (last @ self.items.weight.T).numpy()
        return values


def train_sasrec(
    log: TrainLog,
    stop_cases: Sequence[EvalCase],
    ties: TieOrder,
    config: SasRecConfig,
    say: Callable[[str], None] = lambda message: None,
) -> SasRec:
    """Fits a `SasRec` on the log; `stop_cases` choose among its weights, and do nothing else.

    Cost: epochs x events x num_items x width products; the log of a small shop takes minutes.
    """
    torch.manual_seed(config.seed)
    model = SasRec(len(log.items), config)
    windows = list(_windows(log, config.max_history))
    if not windows:
        raise invalid("train_sasrec", "log", "a user with two events", "none")
    steps = _Schedule(config, math.ceil(len(windows) / config.batch_size))
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=config.weight_decay)
    best, weights = -1.0, model.state_dict()
    for chosen in steps.batches(len(windows)):
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * (1.0 - steps.progress)
        loss = _loss(model.train(), [windows[place] for place in chosen])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if steps.validation_is_due():
            found = float(mean_ndcgs(stop_cases, ties, lambda few: [Scores(model.scores(few))])[0])
            say(f"sasrec: {steps.progress:.0%} trained, NDCG@10 {found:.4f} on the stop group")
            if found > best:
                best, weights = found, copy.deepcopy(model.state_dict())
    if best >= 0:
        model.load_state_dict(weights)
    return model.eval()


class _Schedule:
    """Which users each step sees, and how far the training is: the larger share of steps and time.

    Time is that of training alone: what validations take is not counted.
    """

    def __init__(self, config: SasRecConfig, steps_per_epoch: int) -> None:
        self._config = config
        self._num_steps = math.inf if config.epochs is None else config.epochs * steps_per_epoch
        self._random = np.random.default_rng(config.seed)
        self._validations = 0
        self._step = 0
        self._seconds = 0.0

    @property
    def progress(self) -> float:
        minutes = self._config.minutes
        used = 0.0 if minutes is None else self._seconds / (60.0 * minutes)
        return min(1.0, max(self._step / self._num_steps, used))

    def batches(self, num_windows: int) -> Iterator[npt.NDArray[np.int64]]:
        while True:
            order = self._random.permutation(num_windows)
            for begin in range(0, num_windows, self._config.batch_size):
                self._began = time.monotonic()
                yield order[begin : begin + self._config.batch_size]
                if self.progress >= 1.0:
                    return

    def validation_is_due(self) -> bool:
        """Called after each step."""
        self._seconds += time.monotonic() - self._began
        self._step += 1
        due = math.floor(self.progress * self._config.validations)
        is_due = due > self._validations
        self._validations = due
        return is_due


def _windows(log: TrainLog, max_history: int) -> Iterator[list[int]]:
    """Item rows of each user in pieces of at most max_history + 1: inputs, and targets one on."""
    for history in log.histories:
        rows = [event.row for event in history.events]
        for end in range(len(rows), 1, -max_history):
            yield rows[max(0, end - max_history - 1) : end]


def _padded(rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """int64 [n, longest], zeros behind each; and their lengths. Causal states never see zeros."""
    padded = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.int64)
    for place, one in enumerate(rows):
        padded[place, : len(one)] = torch.tensor(one)
    return padded, torch.tensor([len(one) for one in rows])


def _loss(model: SasRec, windows: Sequence[Sequence[int]]) -> Tensor:
    rows, lengths = _padded(windows)
    known = torch.arange(rows.shape[1] - 1) < (lengths - 1)[:, None]
    states = model.dropout(model(rows[:, :-1])[known])
    return nn.functional.cross_entropy(states @ model.items.weight.T, rows[:, 1:][known])


def fit(log: TrainLog, context: BaselineContext) -> Ranker:
    """Items by their probability to come next; in search, those of the query's category first."""
    model = context.sasrec
    if model is None:
        raise invalid("baselines", BASELINE.name, "a trained SasRec", None, "pass sasrec")

    def score(cases: Sequence[EvalCase]) -> Scores:
        tiers = context.category_tiers(cases) if context.task == SEARCH else None
        return Scores(model.scores(cases), tiers)

    return DenseRanker(BASELINE.name, context.ties, score)


BASELINE = Baseline("sasrec", (SEARCH, NEXT_ITEM), fit, needs="sasrec")
