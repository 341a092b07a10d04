"""Batches in which several targets stand behind one prompt, so that it is run once for all."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from onesearch_fast.train.rows import Batch, IntArray


def make_branch_batch(prompts: Sequence[Sequence[int]], targets: IntArray, pad_id: int) -> Batch:
    """For a decoder: a row is a prompt and then every branch but its last token.

    A mask lets each branch see the prompt and itself alone, and position ids let it stand right
    behind the prompt, so logits are those of prompt + branch in a row of its own.

    Args:
        targets: int64 [prompts, branches, levels] of token ids.
    """
    num_branches, levels = targets.shape[1:]
    told = levels - 1
    lengths = np.array([len(prompt) for prompt in prompts])
    width = int(lengths.max()) + num_branches * told
    ids = np.full((len(prompts), width), pad_id, dtype=np.int64)
    position_ids = np.zeros_like(ids)
    branch_of = np.full_like(ids, -1)
    for row, prompt in enumerate(prompts):
        begin, end = len(prompt), len(prompt) + num_branches * told
        ids[row, :begin] = prompt
        ids[row, begin:end] = targets[row, :, :told].reshape(-1)
        position_ids[row, :begin] = np.arange(begin)
        position_ids[row, begin:end] = begin + np.tile(np.arange(told), num_branches)
        branch_of[row, begin:end] = np.repeat(np.arange(num_branches), told)
    inside = np.arange(width) < (lengths + num_branches * told)[:, None]
    return Batch(
        torch.from_numpy(ids),
        torch.from_numpy(_label_positions(lengths, num_branches, told, width)),
        torch.from_numpy(targets.reshape(-1)),
        mask=_branch_mask(torch.from_numpy(branch_of), torch.from_numpy(inside)),
        position_ids=torch.from_numpy(position_ids),
    )


def make_encoder_branch_batch(
    prompts: Sequence[Sequence[int]],
    targets: IntArray,
    pad_id: int,
    decoder_prefix_ids: Sequence[int],
) -> Batch:
    """For an encoder-decoder: a row of the encoder per prompt, one of the decoder per branch."""
    lengths = np.array([len(prompt) for prompt in prompts])
    mask = np.arange(int(lengths.max())) < lengths[:, None]
    ids = np.full(mask.shape, pad_id, dtype=np.int64)
    ids[mask] = np.concatenate([np.asarray(prompt, dtype=np.int64) for prompt in prompts])
    levels, prefix = targets.shape[2], len(decoder_prefix_ids)
    flat = targets.reshape(-1, levels)
    begins = np.tile(np.asarray(decoder_prefix_ids, dtype=np.int64), (len(flat), 1))
    decoder_ids = np.concatenate([begins, flat[:, :-1]], axis=1)
    first = np.arange(len(flat))[:, None] * decoder_ids.shape[1] + prefix - 1
    return Batch(
        torch.from_numpy(ids),
        torch.from_numpy((first + np.arange(levels)).reshape(-1)),
        torch.from_numpy(flat.reshape(-1)),
        torch.from_numpy(decoder_ids),
        torch.from_numpy(mask),
    )


def _label_positions(lengths: IntArray, num_branches: int, told: int, width: int) -> IntArray:
    """Flat positions whose output predicts each label: the prompt's end, then the branch."""
    rows = np.arange(len(lengths))[:, None, None] * width
    branch = np.arange(num_branches)[None, :, None] * told
    ends = lengths[:, None, None] - 1
    later = ends + 1 + branch + np.arange(told)
    first = np.broadcast_to(ends, (len(lengths), num_branches, 1))
    return np.asarray(rows + np.concatenate([first, later], axis=2)).reshape(-1)


def _branch_mask(branch_of: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
    """float32 [rows, 1, width, width] to add to attention scores."""
    width = branch_of.shape[1]
    seen = (branch_of == -1)[:, None, :] | (branch_of[:, None, :] == branch_of[:, :, None])
    causal = torch.ones(width, width, dtype=torch.bool).tril()
    allowed = causal & seen & inside[:, None, :]
    # Padding sees itself: a row of nothing has no softmax.
    allowed |= torch.eye(width, dtype=torch.bool)
    hidden = torch.finfo(torch.float32).min
    return torch.zeros(allowed.shape).masked_fill(~allowed, hidden)[:, None]
