"""Served architectures in plain torch, found by the `model_type` of a Hugging Face config."""

from __future__ import annotations

from onesearch_fast.models.checkpoint import Checkpoint, read_checkpoint
from onesearch_fast.models.decoder import (
    Attention,
    DecoderAttention,
    DecoderModel,
    DecoderShape,
    Encoder,
    max_prompt_tokens,
)
from onesearch_fast.models.registry import (
    check_served,
    load_model,
    model_types,
    register,
    weight_bytes,
)

__all__ = [
    "Attention",
    "Checkpoint",
    "DecoderAttention",
    "DecoderModel",
    "DecoderShape",
    "Encoder",
    "check_served",
    "load_model",
    "max_prompt_tokens",
    "model_types",
    "read_checkpoint",
    "register",
    "weight_bytes",
]
