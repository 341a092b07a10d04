"""How a model of each shape is trained: its batches, its embeddings, its logits at the labels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import nullcontext
from functools import cached_property
from typing import Any

import torch
from transformers import PreTrainedModel

from onesearch_fast.data.long_history import LongHistories
from onesearch_fast.engine.engine import Engine
from onesearch_fast.engine.engine_prompts import EnginePrompts, engine_prompts
from onesearch_fast.models import read_checkpoint
from onesearch_fast.nn import embed_prompts
from onesearch_fast.train.branches import make_branch_batch, make_encoder_branch_batch
from onesearch_fast.train.rows import (
    Batch,
    IntArray,
    TokenRows,
    make_batch,
    make_encoder_decoder_batch,
    single_targets,
)


def native_bfloat16() -> bool:
    """Whether products in bfloat16 are native here; emulated ones are slower than float32."""
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, probe, lambda: False)() for probe in probes)


def runs_in_bfloat16(precision: str) -> bool:
    """What a `PipelineConfig.precision` means on this machine."""
    return precision == "bfloat16" or (precision == "auto" and native_bfloat16())


class Backbone(ABC):
    """A `transformers` model as the objectives see it."""

    def __init__(
        self,
        model: PreTrainedModel,
        pad_id: int,
        precision: str = "float32",
        histories: LongHistories | None = None,
    ) -> None:
        """histories: what tokens behind the vocabulary stand for; read by `model.long_history`."""
        self.model: Any = model
        self.pad_id = pad_id
        self.precision = precision
        self.histories = histories

    @abstractmethod
    def prepare(self, rows: TokenRows) -> TokenRows:
        """The rows in the form that `make_batch` takes."""

    @abstractmethod
    def make_batch(self, rows: TokenRows, chosen: IntArray) -> Batch:
        """Prepared rows, padded to the longest."""

    @abstractmethod
    def make_branches(self, prompts: Sequence[Sequence[int]], targets: IntArray) -> Batch:
        """Several targets behind each prompt, which is run once for all of them.

        targets: token ids [prompts, branches, levels]; labels stand in that order.
        """

    def branch_log_probs(self, prompts: Sequence[Sequence[int]], targets: IntArray) -> torch.Tensor:
        """float32 [prompts, branches, levels]: log p of every token, over the vocabulary."""
        log_probs = self.branch_logits(prompts, targets).log_softmax(-1)
        labels = torch.from_numpy(targets).to(log_probs.device)
        return log_probs.gather(3, labels[..., None])[..., 0]

    def branch_logits(self, prompts: Sequence[Sequence[int]], targets: IntArray) -> torch.Tensor:
        """float32 [prompts, branches, levels, vocabulary]: what predicts every token."""
        batch = self.make_branches(prompts, targets).to(self.model.device)
        return self.logits(self.embed(batch), batch).view(*targets.shape, -1)

    @abstractmethod
    def _hidden(self, embeddings: torch.Tensor, batch: Batch) -> torch.Tensor:
        """The states that logits are taken of: [rows, length, width]."""

    def like(self, model: PreTrainedModel) -> Backbone:
        """Another model of the same shape."""
        return type(self)(model, self.pad_id, self.precision, self.histories)

    def embed(self, batch: Batch) -> torch.Tensor:
        """float32 [rows, length, width]: the embeddings of `input_ids`."""
        table = self.model.get_input_embeddings()
        if self.histories is None:
            embeddings: torch.Tensor = table(batch.input_ids)
            return embeddings
        return embed_prompts(batch.input_ids, table, self.model.long_history, self.histories)

    def engine_prompts(self, engine: Engine, prompts: Sequence[list[int]]) -> EnginePrompts:
        """Prompts for an engine that runs these weights."""
        former = getattr(self.model, "long_history", None)
        return engine_prompts(engine, prompts, former, self.histories)

    def logits(self, embeddings: torch.Tensor, batch: Batch, dropout: float = 0.0) -> torch.Tensor:
        """float32 [labels, vocabulary]: what predicts each label.

        States are gathered at label positions before the output matrix, which is most of a small
        model's work. `dropout` is of the embeddings and of those states, beside the model's own.
        """
        kind, bfloat16 = embeddings.device.type, runs_in_bfloat16(self.precision)
        with torch.autocast(kind, torch.bfloat16) if bfloat16 else nullcontext():
            embeddings = torch.nn.functional.dropout(embeddings, dropout)
            hidden = rows_at(self._hidden(embeddings, batch).flatten(0, 1), batch.positions)
            hidden = torch.nn.functional.dropout(hidden, dropout)
            logits: torch.Tensor = self.model.get_output_embeddings()(hidden)
        bias = getattr(self.model, "final_logits_bias", None)
        return logits.float() if bias is None else logits.float() + bias[0]


def rows_at(hidden: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """hidden [positions, hidden], positions [labels] -> [labels, hidden], any of them repeatedly.

    Branches share the last position of their prompt. The gradient of `hidden[positions]` adds them
    by atomics on a processor, in an order of its own each time; that of an embedding in one order.
    """
    return torch.nn.functional.embedding(positions, hidden)


class DecoderOnly(Backbone):
    """Llama, Qwen, GPT-2: a row teaches all of its targets in one pass."""

    def prepare(self, rows: TokenRows) -> TokenRows:
        return rows

    def make_batch(self, rows: TokenRows, chosen: IntArray) -> Batch:
        return make_batch(rows, chosen, self.pad_id)

    def make_branches(self, prompts: Sequence[Sequence[int]], targets: IntArray) -> Batch:
        return make_branch_batch(prompts, targets, self.pad_id)

    def _hidden(self, embeddings: torch.Tensor, batch: Batch) -> torch.Tensor:
        # Rows are padded on the right and attention is causal: mostly no mask is needed.
        hidden: torch.Tensor = self.model.base_model(
            inputs_embeds=embeddings,
            attention_mask=batch.mask,
            position_ids=batch.position_ids,
            use_cache=False,
        )[0]
        return hidden


class EncoderDecoder(Backbone):
    """BART: the encoder reads the prompt, the decoder says one target."""

    def prepare(self, rows: TokenRows) -> TokenRows:
        return single_targets(rows)

    def make_batch(self, rows: TokenRows, chosen: IntArray) -> Batch:
        return make_encoder_decoder_batch(rows, chosen, self.pad_id, self._decoder_prefix_ids)

    def make_branches(self, prompts: Sequence[Sequence[int]], targets: IntArray) -> Batch:
        prefix = self._decoder_prefix_ids
        return make_encoder_branch_batch(prompts, targets, self.pad_id, prefix)

    @cached_property
    def _decoder_prefix_ids(self) -> list[int]:
        """What serving will begin with."""
        ids: list[int] = read_checkpoint(self.model).config["decoder_prefix_ids"]
        return ids

    def _hidden(self, embeddings: torch.Tensor, batch: Batch) -> torch.Tensor:
        assert batch.decoder_ids is not None and batch.mask is not None, "made by this backbone"
        encoded = self.model.base_model.encoder(inputs_embeds=embeddings, attention_mask=batch.mask)
        # The targets of a prompt share its one pass through the encoder.
        times = len(batch.decoder_ids) // len(embeddings)
        hidden: torch.Tensor = self.model.base_model.decoder(
            input_ids=batch.decoder_ids,
            encoder_hidden_states=encoded[0].repeat_interleave(times, dim=0),
            encoder_attention_mask=batch.mask.repeat_interleave(times, dim=0),
            use_cache=False,
        )[0]
        return hidden


def backbone_of(
    model: PreTrainedModel,
    pad_id: int,
    precision: str = "float32",
    histories: LongHistories | None = None,
) -> Backbone:
    """The backbone for the model's architecture."""
    kind = EncoderDecoder if model.config.is_encoder_decoder else DecoderOnly
    return kind(model, pad_id, precision, histories)
