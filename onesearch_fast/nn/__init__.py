"""Modules over the operators, to build models from."""

from onesearch_fast.nn.history_former import (
    HISTORIES,
    LongHistoryQFormer,
    embed_prompts,
    insert_vectors,
)
from onesearch_fast.nn.sid_embedding import SidEmbedding

__all__ = ["HISTORIES", "LongHistoryQFormer", "SidEmbedding", "embed_prompts", "insert_vectors"]
