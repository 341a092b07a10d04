"""Long histories as a few vectors that a prompt holds in place of tokens."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from onesearch_fast.errors import FormatError, invalid
from onesearch_fast.ops import sid_embedding_bag

# Clicks, orders, and what was taken from searches.
HISTORIES = ("click", "order", "search")
_FORMAT = "onesearch_fast.long_history.1"


class LongHistoryQFormer(nn.Module):
    """Sums histories by level of their codes, and asks the sums a few learnt questions.

        m[h, l] = sum over items i of history h of centroids_l[codes[i, l]]
        z[h, l] = project(norm(m[h, l])) + kind[h, l]
        out     = queries + attention(queries, z), then + a feed-forward layer of it

    with one z for each of the 3 histories and of the residual levels: 9 vectors for 3 levels. The
    centroids stay as they are. A history without items sums to zero, which is a value like others.
    Source: OneSearch, arXiv 2509.03236, eq. 4; the layers are ours.

    Args:
        centroids: float32 [level size, dim] of each residual level.
        hidden_size: width of the model that reads the vectors.
        num_vectors: vectors that come out.
        num_heads: of the attention; divides `hidden_size`.
    """

    centroids: torch.Tensor

    def __init__(
        self,
        centroids: Sequence[torch.Tensor],
        hidden_size: int,
        num_vectors: int = 3,
        num_heads: int = 4,
    ) -> None:
        super().__init__()
        if not centroids or any(table.dim() != 2 for table in centroids):
            expected = "a table [level size, dim] for each level"
            raise invalid("LongHistoryQFormer", "centroids", expected, len(centroids))
        if num_heads < 1 or hidden_size % num_heads:
            expected = f"a divisor of hidden_size = {hidden_size}"
            raise invalid("LongHistoryQFormer", "num_heads", expected, num_heads)
        if num_vectors < 1:
            raise invalid("LongHistoryQFormer", "num_vectors", "at least 1", num_vectors)
        self.level_sizes = tuple(len(table) for table in centroids)
        self.register_buffer("centroids", torch.cat(list(centroids)).float())
        dim, sums = self.centroids.shape[1], len(HISTORIES) * len(centroids)
        self.norm = nn.LayerNorm(dim)
        self.project = nn.Linear(dim, hidden_size)
        self.kind = nn.Parameter(torch.randn(sums, hidden_size) * 0.02)
        self.queries = nn.Parameter(torch.randn(num_vectors, hidden_size) * 0.02)
        self.query_norm = nn.LayerNorm(hidden_size)
        self.attention = nn.MultiheadAttention(hidden_size, num_heads, batch_first=True)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(hidden_size),
            nn.Linear(hidden_size, 4 * hidden_size),
            nn.GELU(),
            nn.Linear(4 * hidden_size, hidden_size),
        )

    @property
    def num_vectors(self) -> int:
        return len(self.queries)

    @property
    def hidden_size(self) -> int:
        return self.queries.shape[1]

    def forward(self, codes: torch.Tensor) -> torch.Tensor:
        """Histories as vectors.

        Args:
            codes: integers [user, history, slot, level], histories in the order of `HISTORIES`, -1
                where there is no item; levels behind the residual ones are not looked at.

        Returns:
            [user, num_vectors, hidden_size]; a user's vectors do not depend on the other users.
        """
        seen = self.norm(self.sums(codes))
        seen = self.project(seen) + self.kind
        questions = self.queries.expand(len(codes), -1, -1)
        answers, _ = self.attention(self.query_norm(questions), seen, seen, need_weights=False)
        vectors = questions + answers
        told: torch.Tensor = vectors + self.feed_forward(vectors)
        return told

    def sums(self, codes: torch.Tensor) -> torch.Tensor:
        """float32 [user, history * level, dim]: m, level by level within each history."""
        levels = len(self.level_sizes)
        if codes.dim() != 4 or codes.shape[1] != len(HISTORIES) or codes.shape[3] < levels:
            expected = f"[user, {len(HISTORIES)}, slot, at least {levels} levels]"
            raise invalid("LongHistoryQFormer", "codes", expected, tuple(codes.shape))
        users, _, slots, _ = codes.shape
        bags = users * len(HISTORIES)
        items = codes[..., :levels].reshape(bags * slots, levels)
        offsets = torch.arange(bags + 1, device=codes.device) * slots
        tables = torch.split(self.centroids, list(self.level_sizes))
        pooled = [
            sid_embedding_bag(items[:, level : level + 1], table, (len(table),), offsets=offsets)
            for level, table in enumerate(tables)
        ]
        return torch.stack(pooled, 1).reshape(users, len(HISTORIES) * levels, -1)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes weights and sizes: `long_history.safetensors` of a served model."""
        about = {
            "format": _FORMAT,
            "level_sizes": self.level_sizes,
            "num_heads": self.attention.num_heads,
        }
        state = {name: tensor.contiguous() for name, tensor in self.state_dict().items()}
        # One metadata key: safetensors writes several in an order that changes from run to run.
        save_file(state, str(path), {"long_history": json.dumps(about, sort_keys=True)})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> LongHistoryQFormer:
        """Opens what `save` wrote; raises FormatError when it is not that."""
        try:
            with safe_open(Path(path), "pt") as file:
                about = json.loads((file.metadata() or {})["long_history"])
                state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            if about["format"] != _FORMAT:
                raise FormatError(f"{path}: expected {_FORMAT}, got {about['format']}")
            num_vectors, hidden_size = state["queries"].shape
            tables = torch.split(state["centroids"], about["level_sizes"])
            former = cls(tables, hidden_size, num_vectors, about["num_heads"])
            former.load_state_dict(state)
        except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
            if isinstance(error, FormatError):
                raise
            raise FormatError(f"{path}: not a long-history file: {error!r}") from error
        return former


class Histories(Protocol):
    """Histories that tokens name, those of one history in a row; as `data.LongHistories`."""

    @property
    def first_token(self) -> int: ...
    def codes_of(self, tokens: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
        """Codes of the histories, by a token of each: as `LongHistoryQFormer` takes them."""
        ...


def embed_prompts(
    tokens: torch.Tensor,
    embed_tokens: Callable[[torch.Tensor], torch.Tensor],
    former: LongHistoryQFormer,
    histories: Histories,
) -> torch.Tensor:
    """What a model reads for prompts, some of which hold the tokens of one long history.

    Args:
        tokens: int64 [batch, token].
        embed_tokens: tokens of the vocabulary -> [batch, token, hidden].

    Returns:
        [batch, token, hidden]: the vectors of `former` where tokens name a history.
    """
    places = tokens >= histories.first_token
    embeddings = embed_tokens(tokens.masked_fill(places, 0))
    named = tokens[places][:: former.num_vectors]
    if not len(named):
        return embeddings
    codes = torch.from_numpy(histories.codes_of(named.cpu().numpy()))
    vectors = former(codes.to(former.queries.device))
    return insert_vectors(embeddings, places.to(embeddings.device), vectors)


def insert_vectors(
    embeddings: torch.Tensor, places: torch.Tensor, vectors: torch.Tensor
) -> torch.Tensor:
    """Puts vectors at places, in order.

    Args:
        embeddings: [batch, token, hidden], of the tokens; those at the places are not used.
        places: bool [batch, token]; in each row none, or as many as a history has vectors.
        vectors: [history, vector, hidden], of the rows that have places.
    """
    counts = places.sum(1)
    given = counts[counts > 0]
    fits = len(given) == len(vectors) and bool((given == vectors.shape[1]).all())
    if places.shape != embeddings.shape[:2] or not fits:
        expected = f"{vectors.shape[1]} places in {len(vectors)} rows of {tuple(embeddings.shape)}"
        raise invalid("insert_vectors", "places", expected, counts.tolist())
    filled = vectors.flatten(0, 1).to(embeddings)
    return embeddings.masked_scatter(places.unsqueeze(2), filled)
