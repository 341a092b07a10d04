"""`Engine`: a model and a trie, made into exact generation of semantic IDs."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from functools import partial
from numbers import Real

import torch

from onesearch_fast.engine.assembly import Form, Limits, assemble
from onesearch_fast.engine.beam_search import (
    Beams,
    SearchSettings,
    SearchSpace,
    constrained_search,
)
from onesearch_fast.engine.catalogues import Catalogue, CatalogueArgument, Catalogues, latest
from onesearch_fast.engine.checks import (
    bad,
    check_codes,
    check_normalizer,
    check_search,
)
from onesearch_fast.engine.deadline import Deadline, DeadlineArgument, one_deadline_per_request
from onesearch_fast.engine.diagnostics import Target, Trace, WhyNot, explain
from onesearch_fast.engine.executor import Executor
from onesearch_fast.engine.filters import FilterArgument, FilterLike, FilterMaker
from onesearch_fast.engine.loads import (
    constrained_loads,
    sampling_loads,
    scoring_loads,
    unconstrained_loads,
)
from onesearch_fast.engine.numbers import whole_number
from onesearch_fast.engine.prefix_cache import PrefixCache
from onesearch_fast.engine.prompt_batch import PromptBatch
from onesearch_fast.engine.result import GenerateResult
from onesearch_fast.engine.sampling import Samples, sample_sids, seeds_of_requests
from onesearch_fast.engine.scoring import score_codes
from onesearch_fast.engine.search_batch import (
    MAX_BEAMS,
    Rows,
    SearchBatch,
    beams_per_level,
    beams_per_request,
)
from onesearch_fast.engine.search_options import (
    NO_OPTIONS,
    SearchOptions,
    check_options,
)
from onesearch_fast.engine.statistics import Stopwatch
from onesearch_fast.engine.unconstrained_search import unconstrained_search
from onesearch_fast.index.item_columns import ItemColumns
from onesearch_fast.index.live_store import LiveStore
from onesearch_fast.models import max_prompt_tokens, read_checkpoint

# A batch larger than so many tokens, prompts and beams together, or with more bytes of keys and
# values, makes no product faster and only has its first request wait for its last.
_BATCH_ROWS = 1 << 13
_BATCH_BYTES = 128 << 20

PromptArgument = torch.Tensor | Sequence[Sequence[int]] | None


class Engine:
    """Generates and scores the SIDs of a trie with a language model.

    Safe to use from many threads: a search has no state but its own, and an update of the weights
    waits for the searches that run.
    """

    def __init__(
        self, executor: Executor, trie: Catalogue | LiveStore, columns: ItemColumns | None = None
    ) -> None:
        self._trie = trie
        self._filters = FilterMaker(columns)
        self._executor = executor

    @classmethod
    def from_pretrained(
        cls,
        folder_or_module: str | os.PathLike[str] | torch.nn.Module,
        trie: Catalogue | LiveStore,
        device: str | torch.device = "cpu",
        dtype: str | torch.dtype = "bfloat16",
        code_token_offsets: Sequence[int] | None = None,
        deterministic: bool = False,
        allow_download: bool = False,
        prefix_cache_bytes: int = 0,
        max_memory_bytes: int | None = None,
        columns: ItemColumns | None = None,
        quantization: str | None = None,
        cuda_graph_bytes: int | None = None,
    ) -> Engine:
        """Loads a model beside the trie of the items it may generate.

        Args:
            folder_or_module: a Hugging Face folder (config.json and safetensors), or a transformers
                module, which is copied and left untouched.
            trie: the catalogue: a `SidTrie`, a `Snapshot`, or a `LiveStore`, of which every call
                searches the latest snapshot.
            device: where the model runs.
            dtype: "float32", "bfloat16" or "float16"; of weights, keys and values. Scores are
                float32 whatever it is.
            code_token_offsets: token id of code 0 of every level; default: the config's own.
            deterministic: the same bits for a request whatever its batch neighbours and the number
                of threads. Requests are then run one at a time on one thread and prompts in blocks
                of one size, since torch's products change bits with their rows and threads; several
                Python threads may run such searches side by side.
            allow_download: whether a name that is no folder may be fetched from the hub.
            prefix_cache_bytes: memory for keys and values of prompt beginnings, which later prompts
                that begin alike need not read again. 0, the default, keeps none: it pays only where
                prompts share 32 tokens and more, and unless `deterministic` the last bits of an
                answer then depend on what was asked before.
            max_memory_bytes: most bytes that the weights, the prefix cache and all searches that
                run at a time may take together; the catalogue is the caller's. Batches are cut to
                fit, searches wait for each other, and a request that fits in no way is refused
                before it starts. None, the default, asks for whatever is needed.
            columns: attributes of the trie's items, which filters given as conditions ask about; a
                live store brings its own.
            quantization: None, or "int8": weights of layers and what they are multiplied with are
                rounded to 8 bits (`ops.int8_linear`). It halves the weights and, on processors with
                AVX512-VNNI, the time of products, and changes scores and some of the last places of
                an answer: docs/serving.md has figures. Sizes of layers must be multiples of 16.
            cuda_graph_bytes: on a GPU, memory for CUDA graphs, each of which makes all levels of
                searches of about its size at one launch: docs/gpu.md. None, the default, gives them
                a quarter of the device's memory (half of what `max_memory_bytes` leaves, of which
                they are part); 0 has no graphs, and every level launched by itself.

        Raises:
            ValueError: an architecture that is not served, weights that do not match their config,
                code ranges that do not fit the trie or the vocabulary, too few positions.
        """
        limits = Limits(deterministic, prefix_cache_bytes, max_memory_bytes, cuda_graph_bytes)
        checkpoint = read_checkpoint(folder_or_module, allow_download)
        catalogue = latest("Engine", trie)
        form = Form(device, dtype, quantization)
        executor = assemble(checkpoint, catalogue, form, code_token_offsets, limits)
        return cls(executor, trie, columns)

    @property
    def trie(self) -> Catalogue | LiveStore:
        """The trie it generates from, unless a call brings its own."""
        return self._trie

    @property
    def weight_version(self) -> int:
        """1 for the weights it was made with, and one more for every `update_weights`."""
        return self._executor.weight_version

    @property
    def prefix_cache(self) -> PrefixCache | None:
        """What remembers prompt beginnings; None unless `prefix_cache_bytes` is given."""
        return self._space.reader.cache

    @property
    def max_prompt_tokens(self) -> int:
        """The longest prompt that leaves room for an SID."""
        return max_prompt_tokens(self._space.model, self._room)

    def batch_size(self, prompt_tokens: int, num_beams: int) -> int:
        """How many such requests to put in one batch: enough to fill the processor, no more."""
        beams = whole_number("Engine", "num_beams", num_beams, 1, MAX_BEAMS)
        rows = prompt_tokens + self._room * min(
            beams, latest("Engine", self._trie).num_nodes(self._room + 1)
        )
        shape = self._space.model.shape
        row_bytes = 2 * shape.num_layers * shape.num_kv_heads * shape.head_dim
        row_bytes *= self._space.model.dtype.itemsize
        return max(1, min(_BATCH_ROWS, _BATCH_BYTES // row_bytes) // rows)

    @property
    def _space(self) -> SearchSpace:
        return self._executor.space

    @property
    def _room(self) -> int:
        return len(self._space.ranges.sizes) - 1

    def generate(
        self,
        input_ids: PromptArgument = None,
        attention_mask: torch.Tensor | None = None,
        num_beams: int | Sequence[int] = 256,
        normalizer: str = "level",
        filter: FilterArgument = None,
        prompt_embeds: torch.Tensor | None = None,
        constrained: bool = True,
        *,
        trie: CatalogueArgument | None = None,
        beam_schedule: Sequence[int] | None = None,
        options: SearchOptions = NO_OPTIONS,
        deadline_ms: DeadlineArgument = None,
    ) -> GenerateResult:
        """The best `num_beams` SIDs for each prompt, by beam search over the trie.

        score(c_1 .. c_L) = sum over levels l of logit(c_l | prompt, c_1 .. c_{l-1}) - normaliser_l

        Args:
            input_ids: [batch, prompt] integers, or lists of token ids of any lengths.
            attention_mask: [batch, prompt] of 0 and 1; what is 0 counts as absent, wherever it is.
            num_beams: beams kept at every level, one number or one per request; more than the trie
                has SIDs gives a smaller count.
            normalizer: "level" (log-sum-exp over the level's codes), "children" (over the codes
                that lead on in the trie), "vocab" (over the whole vocabulary: scores then equal
                those of `transformers`), or "none".
            filter: which items may be found: an `ItemFilter` of the catalogue, a condition such as
                osf.col("price") < 5, or its text; one for all requests, or a sequence with one (or
                None) per request. A condition is made into a filter of what is searched, and holds
                for every version of a live store.
            prompt_embeds: [batch, prompt, hidden] read in place of the embeddings of `input_ids`.
            constrained: False searches the whole vocabulary instead of the trie; the normaliser is
                then the vocabulary's, codes are -1 outside their level, rank -1 where no SID is.
            trie: search here instead of `Engine.trie`; a sequence has one per request (tenants
                that share the model). All have the engine's level sizes.
            beam_schedule: beams kept after each level, for all requests, in place of `num_beams`;
                (64, 256, 512) spends little where codes are coarse and answers with 512.
            options: priors, quotas, diversity, noise.
            deadline_ms: milliseconds from now, one number or one (or None) per request. When they
                are over before a level, the levels that are left are completed without the model,
                as if every code that leads on were equally likely, and `complete` is False. 0 gives
                such an answer at once. A search never stops within a level.

        Returns:
            GenerateResult; its beams are exact: none is filler, and `count` tells how many there
            are. Ties go to the lower parent beam, then to the lower code. A beam whose logits hold
            NaN or +inf is dead, so broken weights show as a smaller count.

        Cost: one pass over the prompts, num_levels - 1 passes over the beams. With equal inputs,
        scores agree within float tolerance whatever the batch; in every bit with `deterministic`.
        Requests of different deadlines are searched apart, the earliest first.
        """
        watch = Stopwatch(self._room + 1)
        check_normalizer(normalizer)
        check_options("Engine", options, self._room + 1)
        prompts = self._prompts(input_ids, attention_mask, prompt_embeds)
        schedule = beams_per_level("Engine", beam_schedule, self._room + 1)
        catalogues = self._catalogues(trie, len(prompts))
        batch = SearchBatch(
            prompts,
            catalogues,
            self._filters.per_request("Engine", filter, catalogues, len(prompts)),
            beams_per_request("Engine", num_beams, schedule, len(prompts)),
            one_deadline_per_request("Engine", deadline_ms, len(prompts)),
            options.seeds("Engine", len(prompts)),
        )
        widths = schedule or (max(batch.num_beams),) * (self._room + 1)
        settings = SearchSettings(widths, normalizer, options)
        check_search(batch, settings, constrained)
        return self._search(batch, settings, constrained, watch)

    def score(
        self,
        input_ids: PromptArgument,
        codes: torch.Tensor,
        normalizer: str = "level",
        attention_mask: torch.Tensor | None = None,
        prompt_embeds: torch.Tensor | None = None,
        *,
        trie: CatalogueArgument | None = None,
    ) -> torch.Tensor:
        """Teacher-forced scores of given SIDs, by the same formula as `generate`.

        Args:
            input_ids, attention_mask, prompt_embeds, trie: as for `generate`.
            codes: [batch, sid, level] integers, or [batch, level]; local to each level. A row with
                a -1 scores -inf, so that the codes of a `generate` can be passed as they are.
            normalizer: as for `generate`; with "children" an SID outside the trie scores -inf.

        Returns:
            float32 [batch, sid], or [batch].
        """
        check_normalizer(normalizer)
        prompts = self._prompts(input_ids, attention_mask, prompt_embeds)
        given = check_codes(codes, len(prompts), self._space.ranges.sizes)
        batch = SearchBatch(
            prompts,
            self._catalogues(trie, len(prompts)),
            filters=None,
            num_beams=(given.shape[1],) * len(prompts),
            deadlines=(Deadline(),) * len(prompts),
        )
        given = given.to(self._space.model.device)
        done = self._executor.run(
            batch,
            scoring_loads(batch, normalizer, self._vocab_size),
            lambda part, rows: score_codes(self._space, part, given[list(rows)], normalizer),
        )
        scores = torch.cat(done.results)
        return scores if codes.dim() == 3 else scores.squeeze(1)

    def sample(
        self,
        input_ids: PromptArgument = None,
        num_samples: int = 32,
        temperature: float = 1.0,
        *,
        seed: int | torch.Tensor = 0,
        attention_mask: torch.Tensor | None = None,
        prompt_embeds: torch.Tensor | None = None,
        trie: CatalogueArgument | None = None,
    ) -> Samples:
        """Independent samples of SIDs, with replacement: rollouts of the model as a policy.

            p(c_1 .. c_L) = product over levels of softmax(logits / temperature)(c_l)

        where the softmax is over the codes that lead on in the trie.

        Args:
            input_ids, attention_mask, prompt_embeds, trie: as for `generate`.
            num_samples: draws for each prompt.
            temperature: above 0; below 1 it sharpens the distribution.
            seed: one for the call, or int64 [batch]. Equal seeds, prompts and weights give equal
                samples; one seed gives every request of the batch draws of its own.

        Returns:
            Samples; codes are -1 where a request's logits are broken.

        Cost: one pass over the prompts, num_levels - 1 passes over the samples.
        """
        prompts = self._prompts(input_ids, attention_mask, prompt_embeds)
        draws = whole_number("Engine", "num_samples", num_samples, 1, MAX_BEAMS)
        if not isinstance(temperature, Real) or not 0 < temperature < math.inf:
            raise bad("temperature", "a number more than 0", temperature)
        batch = SearchBatch(
            prompts,
            self._catalogues(trie, len(prompts)),
            filters=None,
            num_beams=(draws,) * len(prompts),
            deadlines=(Deadline(),) * len(prompts),
            seeds=seeds_of_requests("Engine", seed, len(prompts)),
        )
        settings = SearchSettings((draws,) * (self._room + 1), "children")
        done = self._executor.run(
            batch,
            sampling_loads(batch, settings, self._space.model.device),
            lambda part, rows: sample_sids(self._space, part, draws, temperature),
        )
        return done.joined()

    def why_not(
        self,
        input_ids: PromptArgument = None,
        item_id: int | None = None,
        codes: Sequence[int] | None = None,
        *,
        num_beams: int = 256,
        normalizer: str = "level",
        filter: FilterLike | None = None,
        prompt_embeds: torch.Tensor | None = None,
        trie: CatalogueArgument | None = None,
        beam_schedule: Sequence[int] | None = None,
        max_beams: int = 4096,
    ) -> WhyNot:
        """Why a search does or does not find an item or an SID.

        Args:
            input_ids, prompt_embeds: one request, as for `generate`.
            item_id, codes: what is missed: an item, or an SID [level]; one of the two.
            num_beams, normalizer, filter, trie, beam_schedule: of the search, as for `generate`.
            max_beams: the widest search that is tried to tell the target's place.

        Cost: the search, a second beam for the target, and where it falls out of the beams one more
        search with `max_beams`.
        """
        check_normalizer(normalizer)
        prompts = self._prompts(input_ids, None, prompt_embeds)
        if len(prompts) != 1:
            raise bad("input_ids", "one request", f"{len(prompts)} of them")
        schedule = beams_per_level("Engine", beam_schedule, self._room + 1)
        (beams,) = beams_per_request("Engine", num_beams, schedule, 1)
        widest = whole_number("Engine", "max_beams", max_beams, 1, MAX_BEAMS)
        settings = SearchSettings(schedule or (beams,) * (self._room + 1), normalizer)
        target = Target.make(self._catalogues(trie, 1).members[0], item_id, codes)

        def search(batch: SearchBatch, settings: SearchSettings, trace: Trace) -> GenerateResult:
            return self._search(batch, settings, True, Stopwatch(self._room + 1), trace)

        made = self._filters.make(filter, target.catalogue)
        if target.exists and not target.allowed_by(made):
            parts = self._filters.parts(filter, target.catalogue)
            return target.report("filtered", beams, refused_by=target.refusing(parts))
        return explain(target, prompts, made, settings, widest, search)

    def embed(self, input_ids: torch.Tensor) -> torch.Tensor:
        """The embeddings of token ids [batch, prompt]: what `prompt_embeds` can be made of.

        Returns:
            [batch, prompt, hidden] in the engine's dtype, on its device.
        """
        return self._executor.embed(self._prompts(input_ids, None, None).tokens)

    def update_weights(self, module: torch.nn.Module | str | os.PathLike[str]) -> None:
        """Copies new weights of the same architecture into the packed ones.

        It waits for running searches, checks every name and shape before it changes anything, and
        begins a new `weight_version`.
        """
        self._executor.update_weights(read_checkpoint(module))

    def _search(
        self,
        batch: SearchBatch,
        settings: SearchSettings,
        constrained: bool,
        watch: Stopwatch,
        trace: Trace | None = None,
    ) -> GenerateResult:
        def search(part: SearchBatch, rows: Rows) -> Beams:
            watch.start_batch()
            if not constrained:
                return unconstrained_search(self._space, part, max(part.num_beams), watch)
            observe = None if trace is None else partial(trace.see, rows)
            return constrained_search(self._space, part, settings, watch, observe)

        if constrained:
            device = self._space.model.device
            loads = constrained_loads(batch, settings, self._vocab_size, device)
        else:
            loads = unconstrained_loads(batch, self._vocab_size)
        done = self._executor.run(batch, loads, search)
        beams = done.joined()
        stats = watch.stats(batch.prompts.sizes, beams.cached_tokens.tolist())
        certifiable = constrained and settings.certifiable
        return GenerateResult.make(beams, batch, done.weight_version, stats, certifiable)

    @property
    def _vocab_size(self) -> int:
        return self._space.model.shape.vocab_size

    def _prompts(
        self,
        input_ids: PromptArgument,
        attention_mask: torch.Tensor | None,
        prompt_embeds: torch.Tensor | None,
    ) -> PromptBatch:
        return PromptBatch.make(
            self._space.model, input_ids, attention_mask, prompt_embeds, self._room
        )

    def _catalogues(self, trie: CatalogueArgument | None, batch: int) -> Catalogues:
        given = self._trie if trie is None else trie
        return Catalogues.make("Engine", given, self._space.ranges.sizes, batch)
