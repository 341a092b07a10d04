"""From a finished run to the folder that is served."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from onesearch_fast.engine.served_model import LONG_HISTORY, ServedModel
from onesearch_fast.errors import invalid
from onesearch_fast.index.item_table import ItemTable
from onesearch_fast.index.sid_trie import SidTrie
from onesearch_fast.nn import LongHistoryQFormer
from onesearch_fast.sid.build import SemanticIds
from onesearch_fast.train.model import open_model
from onesearch_fast.train.stages import StageInputs
from onesearch_fast.train.trainer import quiet_transformers

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def write_served(folder: Path, model_folder: Path, sids: SemanticIds, inputs: StageInputs) -> None:
    """Writes a served model, which knows of each item how many events it has in the log."""
    log, sizes = inputs.log, sids.codebooks.level_sizes
    counts = log.item_popularity()
    long_history = None
    if inputs.prompts.config.long_history is not None:
        long_history = LongHistoryQFormer.load(model_folder / LONG_HISTORY)
    ServedModel.write(
        folder,
        open_model(model_folder),
        SidTrie.build(sids.codes, sizes, item_scores=counts, keep_scores=True),
        ItemTable.build(log.items),
        sids.codebooks,
        sids.encoder,
        inputs.prompts,
        training_log=log.content_hash(),
        query_items=None if inputs.user_ids is None else inputs.user_ids.query_items,
        long_history=long_history,
    )


def export_served(
    run_folder: str | os.PathLike[str], out: str | os.PathLike[str], dtype: str = "bfloat16"
) -> None:
    """Copies the served model of a finished run to `out`, its weights in `dtype`.

    Raises ValueError for another dtype, ServedModelError when the run has no sound served model.
    """
    if dtype not in DTYPES:
        raise invalid("export_served", "dtype", f"one of {sorted(DTYPES)}", dtype)
    source = Path(run_folder) / "served"
    served = ServedModel.load(source)
    with quiet_transformers():
        ServedModel.write(
            out,
            open_model(source, DTYPES[dtype]),
            served.trie,
            served.items,
            served.codebooks,
            served.text_encoder,
            served.prompts,
            training_log=served.training_log,
            query_items=served.query_items,
            long_history=served.long_history,
        )
