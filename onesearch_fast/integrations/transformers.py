"""Trie-constrained generation inside Hugging Face `transformers`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from transformers import LogitsProcessor

from onesearch_fast.errors import invalid
from onesearch_fast.index.item_filter import ItemFilter
from onesearch_fast.index.sid_trie import SidTrie
from onesearch_fast.index.trie_walk import child_nodes, valid_tokens


class TrieLogitsProcessor(LogitsProcessor):
    """Sets every token that leads to no item of a trie to -inf.

    Gives the beams of `prefix_allowed_tokens_fn` over the same SIDs, but walks all beams at once:

        processor = TrieLogitsProcessor(trie, offsets, prompt_length=input_ids.shape[1])
        model.generate(input_ids, logits_processor=[processor], num_beams=64,
                       min_new_tokens=trie.num_levels, max_new_tokens=trie.num_levels)

    To an encoder-decoder give the decoder's start tokens and count those instead, and switch off
    the tokens that its generation defaults force:

        model.generate(input_ids, decoder_input_ids=torch.tensor(start).expand(batch, -1),
                       forced_bos_token_id=None, forced_eos_token_id=None, no_repeat_ngram_size=0,
                       logits_processor=[TrieLogitsProcessor(trie, offsets, len(start))], ...)

    It keeps no state between calls, so re-ordered beams need no bookkeeping.

    Args:
        trie: the catalogue's trie.
        code_token_offsets: token id of code 0 of every level.
        prompt_length: tokens before the first code, padding included; 0 for `inputs_embeds`. Of an
            encoder-decoder the decoder's.
        filter: an `ItemFilter` of the trie; tokens that lead to no allowed item are excluded too.

    Cost: for each beam a binary search per code it has, and num_beams * vocab numbers written.
    """

    def __init__(
        self,
        trie: SidTrie,
        code_token_offsets: Sequence[int],
        prompt_length: int,
        filter: ItemFilter | None = None,
    ) -> None:
        if len(code_token_offsets) != trie.num_levels:
            expected = f"one offset per level ({trie.num_levels})"
            raise _bad("code_token_offsets", expected, list(code_token_offsets))
        if prompt_length < 0:
            raise _bad("prompt_length", "at least 0", prompt_length)
        if filter is not None and filter.trie is not trie:
            raise _bad("filter", "a filter of this trie", "another's", "make it with trie.filter")
        self._trie = trie
        self._offsets = tuple(code_token_offsets)
        self._prompt_length = prompt_length
        self._filter = filter

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """input_ids [rows, tokens], scores [rows, vocab] -> scores [rows, vocab]."""
        made = input_ids[:, self._prompt_length :].cpu().numpy()
        level = made.shape[1]
        if not 0 <= input_ids.shape[1] - self._prompt_length < self._trie.num_levels:
            expected = f"at most {self._trie.num_levels} tokens after the prompt's"
            remedy = "set max_new_tokens to trie.num_levels and check prompt_length"
            raise _bad("input_ids", expected, level, remedy)
        nodes = np.zeros(len(made), dtype=np.int64)
        for before in range(level):
            codes = made[:, before] - self._offsets[before]
            nodes = child_nodes(self._trie, before, nodes, codes)
        valid = torch.from_numpy(valid_tokens(self._trie, level, nodes, self._filter))
        begin = self._offsets[level]
        if begin < 0 or begin + valid.shape[1] > scores.shape[1]:
            expected = f"level {level}'s codes within the vocabulary of {scores.shape[1]}"
            got = f"ids {begin} to {begin + valid.shape[1] - 1}"
            raise _bad("code_token_offsets", expected, got, "the trie belongs to another model")
        own = slice(begin, begin + valid.shape[1])
        constrained = torch.full_like(scores, float("-inf"))
        constrained[:, own] = scores[:, own].masked_fill(~valid.to(scores.device), float("-inf"))
        return constrained


def _bad(argument: str, expected: str, got: object, remedy: str | None = None) -> ValueError:
    return invalid("TrieLogitsProcessor", argument, expected, got, remedy)
