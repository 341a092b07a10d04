"""A rival to measure against: the algorithm of STATIC, written anew from its description.

STATIC (Su et al. 2026, arXiv 2602.22647) keeps the trie as a sparse transition matrix in CSR form,
so that a step is a gather of fixed shape: K slots for every beam, K being the largest number of
children of any node of the level. The first level, or the first two as its paper has it, are dense
instead: a row over all tokens. This is not its authors' code. Differences that favour it here:
pointers are int32, and every child is kept (exact search).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch


@dataclass(frozen=True)
class StaticIndex:
    """States: 0 is the root (and every leaf), token + 1 after one token, numbered onwards below.

    Attributes:
        vocab: codes per level, one number for all levels.
        start_mask: [vocab] bool, the valid first tokens.
        row_begin: [states + 1] int32, first edge of each state.
        edges: [num_edges + vocab, 2] int32, pairs (token, next state).
        max_children: the largest number of children per level, K.
        nodes_per_level: number of distinct prefixes of each length.
        dense_next: [vocab, vocab] int32, the state after two tokens, -1 where there is none; None
            where the second level is in CSR form too.
    """

    vocab: int
    start_mask: torch.Tensor
    row_begin: torch.Tensor
    edges: torch.Tensor
    max_children: tuple[int, ...]
    nodes_per_level: tuple[int, ...]
    dense_next: torch.Tensor | None = None

    @classmethod
    def build(cls, codes: np.ndarray, vocab: int) -> StaticIndex:
        """From codes [num_items, num_levels] in any order, duplicates allowed: sorts them first."""
        codes = codes[np.lexsort(codes.T[::-1])]
        num_levels = codes.shape[1]
        is_new = np.ones(codes.shape, dtype=bool)
        np.logical_or.accumulate(codes[1:] != codes[:-1], axis=1, out=is_new[1:])
        state = np.zeros(len(codes), dtype=np.int32)
        num_states = vocab + 1
        parents, pairs = [], []
        for level in range(num_levels):
            first = is_new[:, level]
            if level == 0:
                child = codes[:, 0] + 1
            elif level == num_levels - 1:
                child = np.zeros_like(state)
            else:
                child = num_states + np.cumsum(first, dtype=np.int32) - 1
                num_states = int(child[-1]) + 1
            parents.append(state[first])
            pairs.append(np.stack((codes[first, level], child[first]), axis=1))
            state = child.astype(np.int32)
        edges = np.concatenate([*pairs, np.zeros((vocab, 2), dtype=np.int32)]).astype(np.int32)
        children = np.bincount(np.concatenate(parents), minlength=num_states)
        row_begin = np.concatenate([[0], np.cumsum(children)]).astype(np.int32)
        start_mask = np.zeros(vocab, dtype=bool)
        start_mask[pairs[0][:, 0]] = True
        return cls(
            vocab=vocab,
            start_mask=torch.from_numpy(start_mask),
            row_begin=torch.from_numpy(row_begin),
            edges=torch.from_numpy(edges),
            max_children=tuple(int(np.bincount(parent).max()) for parent in parents),
            nodes_per_level=tuple(len(parent) for parent in parents),
        )

    def with_two_dense_levels(self) -> StaticIndex:
        """The same index, its second level dense."""
        rows = self.row_begin[1 : self.vocab + 2]
        first = torch.repeat_interleave(torch.arange(self.vocab), rows.diff())
        second, state = self.edges[rows[0] : rows[-1]].unbind(1)
        dense = torch.full((self.vocab, self.vocab), -1, dtype=torch.int32)
        dense[first, second.long()] = state
        return replace(self, dense_next=dense)

    def to(self, device: str) -> StaticIndex:
        """The same index with its tensors there."""
        names = ("start_mask", "row_begin", "edges", "dense_next")
        tensors = {name: getattr(self, name) for name in names}
        return replace(
            self, **{name: t if t is None else t.to(device) for name, t in tensors.items()}
        )

    def state_of(self, level: int, token: torch.Tensor, node: torch.Tensor) -> torch.Tensor:
        """The states, after `level` tokens, of `SidTrie` nodes whose last token is `token`."""
        if level == 1:
            return token + 1
        return self.vocab + 1 + sum(self.nodes_per_level[1 : level - 1]) + node

    def step(
        self,
        logits: torch.Tensor,
        state: torch.Tensor,
        beam_scores: torch.Tensor,
        num_beams: int,
        level: int,
    ) -> tuple[torch.Tensor, ...]:
        """One level for beams of logits [batch, beam, vocab], state and beam_scores [batch, beam].

        Returns scores, parent beams, tokens and next states of the survivors, each
        [batch, num_beams].
        """
        log_probs = torch.log_softmax(logits, dim=-1, dtype=torch.float32)
        scores, tokens, next_state = self._children(log_probs, state, level)
        scores = (scores + beam_scores[..., None]).flatten(1)
        scores, best = scores.topk(num_beams, dim=1)
        parent_beam = best // tokens.shape[-1]
        tokens, next_state = (x.flatten(1).gather(1, best) for x in (tokens, next_state))
        return scores, parent_beam, tokens, next_state

    def _children(
        self, log_probs: torch.Tensor, state: torch.Tensor, level: int
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Scores, tokens and next states of K slots per beam; slots without a child score -inf."""
        if level == 0:
            tokens = torch.arange(self.vocab, device=log_probs.device).expand_as(log_probs)
            return log_probs.masked_fill(~self.start_mask, -torch.inf), tokens, tokens + 1
        if level == 1 and self.dense_next is not None:
            tokens = torch.arange(self.vocab, device=log_probs.device)
            reached = self.dense_next[state - 1]
            scores = log_probs.masked_fill(reached < 0, -torch.inf)
            return scores, tokens.expand_as(scores), reached.long()
        begin = self.row_begin[state]
        num_children = self.row_begin[state + 1] - begin
        most = self.max_children[level]
        slots = torch.arange(most, dtype=torch.int32, device=log_probs.device)
        pairs = self.edges[(begin[..., None] + slots).clamp(max=len(self.edges) - 1)]
        tokens = pairs[..., 0].long().clamp(0, self.vocab - 1)
        valid = slots < num_children[..., None]
        scores = torch.where(valid, log_probs.gather(-1, tokens), -torch.inf)
        return scores, tokens, pairs[..., 1].long()
