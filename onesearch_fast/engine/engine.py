"""`Engine`: a model and a trie, made into exact generation of semantic IDs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cached_property
from typing import Any

import torch

from onesearch_fast.engine.beam_search import (
    Beams,
    CodeRanges,
    SearchSpace,
    constrained_search,
    unconstrained_search,
)
from onesearch_fast.engine.expansion import ItemsByRank
from onesearch_fast.engine.filters import FilterArgument, one_per_request
from onesearch_fast.engine.locks import SharedLock
from onesearch_fast.engine.numbers import whole_number
from onesearch_fast.engine.prompt_batch import PromptBatch
from onesearch_fast.engine.result import GenerateResult
from onesearch_fast.engine.scoring import score_codes
from onesearch_fast.errors import invalid
from onesearch_fast.index.sid_trie import SidTrie
from onesearch_fast.models import load_model, max_prompt_tokens, read_checkpoint
from onesearch_fast.ops.constrained_beam_step import NORMALIZERS

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

_INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)

# A request's beams times its steps is allocated up front, so a slip of the keyboard is refused.
MAX_BEAMS = 1 << 16

# A batch larger than so many tokens, prompts and beams together, or with more bytes of keys and
# values, makes no product faster and only has its first request wait for its last.
_BATCH_ROWS = 1 << 13
_BATCH_BYTES = 128 << 20


class Engine:
    """Generates and scores the SIDs of a trie with a language model.

    Safe to use from many threads: a search has no state but its own, and an update of the weights
    waits for the searches that run.
    """

    def __init__(self, space: SearchSpace, deterministic: bool = False) -> None:
        self._space = space
        self._deterministic = deterministic
        self._lock = SharedLock()
        self._weight_version = 1

    @classmethod
    def from_pretrained(
        cls,
        folder_or_module: str | os.PathLike[str] | torch.nn.Module,
        trie: SidTrie,
        device: str | torch.device = "cpu",
        dtype: str | torch.dtype = "bfloat16",
        code_token_offsets: Sequence[int] | None = None,
        deterministic: bool = False,
        allow_download: bool = False,
    ) -> Engine:
        """Loads a model beside the trie of the items it may generate.

        Args:
            folder_or_module: a Hugging Face folder (config.json and safetensors), or a transformers
                module, which is copied and left untouched.
            trie: the catalogue's trie.
            device: where the model runs.
            dtype: "float32", "bfloat16" or "float16"; of weights, keys and values. Scores are
                float32 whatever it is.
            code_token_offsets: token id of code 0 of every level; default: the config's own.
            deterministic: the same bits for a request whatever its batch neighbours and the number
                of threads. Requests are then run one at a time on one thread, since torch's
                products change bits with their rows and threads; several Python threads may run
                such searches side by side.
            allow_download: whether a name that is no folder may be fetched from the hub.

        Raises:
            ValueError: an architecture that is not served, weights that do not match their config,
                code ranges that do not fit the trie or the vocabulary.
        """
        if not isinstance(trie, SidTrie):
            raise _bad("trie", "a SidTrie", type(trie), "make one with SidTrie.build", TypeError)
        checkpoint = read_checkpoint(folder_or_module, allow_download)
        model = load_model(checkpoint, _dtype(dtype), device)
        ranges = _code_ranges(checkpoint.config, code_token_offsets, trie, model.shape.vocab_size)
        return cls(SearchSpace(model, trie, ranges), deterministic)

    @property
    def trie(self) -> SidTrie:
        """The trie it generates from."""
        return self._space.trie

    @property
    def weight_version(self) -> int:
        """1 for the weights it was made with, and one more for every `update_weights`."""
        return self._weight_version

    @property
    def max_prompt_tokens(self) -> int:
        """The longest prompt that leaves room for an SID."""
        return max_prompt_tokens(self._space.model, self._room)

    def batch_size(self, prompt_tokens: int, num_beams: int) -> int:
        """How many such requests to put in one batch: enough to fill the processor, no more."""
        beams = whole_number("Engine", "num_beams", num_beams, 1, MAX_BEAMS)
        rows = prompt_tokens + self._room * min(beams, self._space.trie.num_sids)
        shape = self._space.model.shape
        row_bytes = 2 * shape.num_layers * shape.num_kv_heads * shape.head_dim
        row_bytes *= self._space.model.dtype.itemsize
        return max(1, min(_BATCH_ROWS, _BATCH_BYTES // row_bytes) // rows)

    @property
    def _room(self) -> int:
        return self._space.trie.num_levels - 1

    @cached_property
    def items_by_rank(self) -> ItemsByRank:
        """The trie's items in rank order, made when first needed."""
        return ItemsByRank(self._space.trie)

    def generate(
        self,
        input_ids: torch.Tensor | Sequence[Sequence[int]] | None = None,
        attention_mask: torch.Tensor | None = None,
        num_beams: int = 256,
        normalizer: str = "level",
        filter: FilterArgument = None,
        prompt_embeds: torch.Tensor | None = None,
        constrained: bool = True,
    ) -> GenerateResult:
        """The best `num_beams` SIDs for each prompt, by beam search over the trie.

        score(c_1 .. c_L) = sum over levels l of logit(c_l | prompt, c_1 .. c_{l-1}) - normaliser_l

        Args:
            input_ids: [batch, prompt] integers, or lists of token ids of any lengths.
            attention_mask: [batch, prompt] of 0 and 1; what is 0 counts as absent, wherever it is.
            num_beams: beams kept at every level; more than the trie has SIDs gives a smaller count.
            normalizer: "level" (log-sum-exp over the level's codes), "children" (over the codes
                that lead on in the trie), "vocab" (over the whole vocabulary: scores then equal
                those of `transformers`), or "none".
            filter: which items may be found: one `ItemFilter` of this trie for all requests, or a
                sequence with one (or None) per request.
            prompt_embeds: [batch, prompt, hidden] read in place of the embeddings of `input_ids`.
            constrained: False searches the whole vocabulary instead of the trie; the normaliser is
                then the vocabulary's, codes are -1 outside their level, rank -1 where no SID is.

        Returns:
            GenerateResult; its beams are exact: none is filler, and `count` tells how many there
            are. Ties go to the lower parent beam, then to the lower code.

        Cost: one pass over the prompts, num_levels - 1 passes over the beams. With equal inputs,
        scores agree within float tolerance whatever the batch; in every bit with `deterministic`.
        """
        num_beams = whole_number("Engine", "num_beams", num_beams, 1, MAX_BEAMS)
        _check_generate(normalizer, filter, constrained)
        prompts = self._prompts(input_ids, attention_mask, prompt_embeds)
        filters = one_per_request("Engine", filter, len(prompts))

        with self._lock.shared(), self._threads():
            version = self._weight_version
            beams = Beams.concatenate(
                [
                    constrained_search(
                        self._space, part, num_beams, normalizer, filters and filters[rows]
                    )
                    if constrained
                    else unconstrained_search(self._space, part, num_beams)
                    for rows, part in self._parts(prompts)
                ]
            )
        return GenerateResult(
            beams.codes,
            beams.scores,
            beams.rank,
            beams.count,
            version,
            lambda: self.items_by_rank,
            filters,
        )

    def score(
        self,
        input_ids: torch.Tensor | Sequence[Sequence[int]] | None,
        codes: torch.Tensor,
        normalizer: str = "level",
        attention_mask: torch.Tensor | None = None,
        prompt_embeds: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Teacher-forced scores of given SIDs, by the same formula as `generate`.

        Args:
            input_ids, attention_mask, prompt_embeds: as for `generate`.
            codes: [batch, sid, level] integers, or [batch, level]; local to each level. A row with
                a -1 scores -inf, so that the codes of a `generate` can be passed as they are.
            normalizer: as for `generate`; with "children" an SID outside the trie scores -inf.

        Returns:
            float32 [batch, sid], or [batch].
        """
        if normalizer not in NORMALIZERS:
            raise _bad("normalizer", f"one of {', '.join(NORMALIZERS)}", normalizer)
        prompts = self._prompts(input_ids, attention_mask, prompt_embeds)
        given = _check_codes(codes, len(prompts), self.trie.level_sizes).to(
            self._space.model.device
        )
        with self._lock.shared(), self._threads():
            parts = [
                score_codes(self._space, part, given[rows], normalizer)
                for rows, part in self._parts(prompts)
            ]
        scores = torch.cat(parts)
        return scores if codes.dim() == 3 else scores.squeeze(1)

    def update_weights(self, module: torch.nn.Module | str | os.PathLike[str]) -> None:
        """Copies new weights of the same architecture into the packed ones.

        It waits for running searches, checks every name and shape before it changes anything, and
        begins a new `weight_version`.
        """
        checkpoint = read_checkpoint(module)
        with self._lock.alone():
            self._space.model.load(checkpoint)
            self._weight_version += 1

    def _prompts(
        self,
        input_ids: torch.Tensor | Sequence[Sequence[int]] | None,
        attention_mask: torch.Tensor | None,
        prompt_embeds: torch.Tensor | None,
    ) -> PromptBatch:
        return PromptBatch.make(
            self._space.model, input_ids, attention_mask, prompt_embeds, self._room
        )

    def _threads(self) -> AbstractContextManager[None]:
        return _one_thread() if self._deterministic else nullcontext()

    def _parts(self, prompts: PromptBatch) -> list[tuple[slice, PromptBatch]]:
        """The batch as it is run: whole, or every request by itself, its bits then its own."""
        if not self._deterministic:
            return [(slice(None), prompts)]
        return [(slice(row, row + 1), prompts.request(row)) for row in range(len(prompts))]


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keeps torch from splitting what this Python thread does.

    The setting is the calling thread's own (an OpenMP control variable); only a thread that uses
    torch for the first time meanwhile inherits it.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _bad(
    argument: str,
    expected: str,
    got: object,
    remedy: str | None = None,
    kind: type[Exception] = ValueError,
) -> Exception:
    return invalid("Engine", argument, expected, got, remedy, kind)


def _dtype(dtype: str | torch.dtype) -> torch.dtype:
    chosen = DTYPES.get(dtype) if isinstance(dtype, str) else dtype
    if chosen is None or chosen not in DTYPES.values():
        raise _bad("dtype", f"one of {', '.join(DTYPES)}", dtype)
    return chosen


def _code_ranges(
    config: Mapping[str, Any],
    code_token_offsets: Sequence[int] | None,
    trie: SidTrie,
    vocab_size: int,
) -> CodeRanges:
    offsets = config.get("code_token_offsets") if code_token_offsets is None else code_token_offsets
    if offsets is None:
        remedy = "pass the token id of code 0 of every level"
        raise _bad("code_token_offsets", "one offset per level", "none in the config", remedy)
    sizes = config.get("level_sizes", trie.level_sizes)
    if tuple(sizes) != trie.level_sizes:
        remedy = "the trie belongs to another model"
        raise _bad(
            "trie", f"level_sizes {tuple(sizes)}, as in the config", trie.level_sizes, remedy
        )
    if len(offsets) != trie.num_levels:
        expected = f"one offset per level ({trie.num_levels})"
        raise _bad("code_token_offsets", expected, list(offsets))
    for level, (offset, size) in enumerate(zip(offsets, trie.level_sizes, strict=True)):
        if offset < 0 or offset + size > vocab_size:
            expected = f"level {level}'s {size} codes within the vocabulary of {vocab_size}"
            raise _bad("code_token_offsets", expected, f"ids {offset} to {offset + size - 1}")
    return CodeRanges(tuple(int(offset) for offset in offsets), trie.level_sizes)


def _check_generate(normalizer: str, filter: FilterArgument, constrained: bool) -> None:
    if normalizer not in NORMALIZERS:
        raise _bad("normalizer", f"one of {', '.join(NORMALIZERS)}", normalizer)
    if not constrained and normalizer in ("children", "none"):
        remedy = "an unconstrained search is normalised over the vocabulary"
        raise _bad("normalizer", "'vocab' with constrained=False", normalizer, remedy)
    if not constrained and filter is not None:
        remedy = "filters choose among the trie's items"
        raise _bad("filter", "None with constrained=False", "a filter", remedy)


def _check_codes(codes: torch.Tensor, batch: int, level_sizes: tuple[int, ...]) -> torch.Tensor:
    """As int64 [batch, sid, level]."""
    if not isinstance(codes, torch.Tensor) or codes.dtype not in _INTEGERS:
        got = codes.dtype if isinstance(codes, torch.Tensor) else type(codes)
        raise _bad("codes", "an integer tensor", got, kind=TypeError)
    given = codes.unsqueeze(1) if codes.dim() == 2 else codes
    if given.dim() != 3 or given.shape[::2] != (batch, len(level_sizes)) or not given.shape[1]:
        expected = f"[batch, sid, level] = [{batch}, at least 1, {len(level_sizes)}]"
        raise _bad("codes", expected, tuple(codes.shape))
    outside = (given >= torch.tensor(level_sizes, device=given.device)) | (given < -1)
    if bool(outside.any()):
        expected = f"codes below the level sizes {level_sizes}, or -1"
        raise _bad("codes", expected, given[outside.any(2)][0].tolist())
    return given.long()
