"""Prompts in the form that an engine takes, whether or not they hold long histories."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn.utils.rnn import pad_sequence

from onesearch_fast.data.long_history import LongHistories
from onesearch_fast.engine.engine import Engine
from onesearch_fast.nn import LongHistoryQFormer, embed_prompts


@dataclass(frozen=True)
class EnginePrompts:
    """What to pass to an `Engine`: token ids, or embeddings [batch, prompt, hidden] and a mask."""

    input_ids: list[list[int]] | None
    attention_mask: torch.Tensor | None = None
    prompt_embeds: torch.Tensor | None = None


@torch.no_grad()
def engine_prompts(
    engine: Engine,
    prompts: Sequence[list[int]],
    former: LongHistoryQFormer | None,
    histories: LongHistories | None,
) -> EnginePrompts:
    """Embeds prompts by the engine's own table, and their long histories by `former`.

    histories: what tokens behind the vocabulary stand for; None where there are no such tokens.
    """
    if former is None or histories is None:
        return EnginePrompts(list(prompts))
    # One by one, so that the bits of a prompt are its own whatever is searched beside it.
    rows = [
        embed_prompts(torch.tensor([prompt]), engine.embed, former, histories)[0]
        for prompt in prompts
    ]
    embeds = pad_sequence(rows, batch_first=True)
    lengths = torch.tensor([len(row) for row in rows])
    mask = torch.arange(embeds.shape[1]) < lengths[:, None]
    return EnginePrompts(None, mask, embeds)
