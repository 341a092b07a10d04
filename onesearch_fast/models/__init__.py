"""Served architectures in plain torch, found by the `model_type` of a Hugging Face config."""

from __future__ import annotations

from onesearch_fast.models.checkpoint import Checkpoint, read_checkpoint
from onesearch_fast.models.decoder import Attention, DecoderModel, DecoderShape
from onesearch_fast.models.registry import check_served, load_model, model_types, register

__all__ = [
    "Attention",
    "Checkpoint",
    "DecoderModel",
    "DecoderShape",
    "check_served",
    "load_model",
    "model_types",
    "read_checkpoint",
    "register",
]
