"""Rollouts for reinforcement learning: 32 independent samples of each prompt, against `generate`.

The models are the one of the CPU ablations (0.9M parameters) and one of 29M, over catalogues of
8,000 and 100,000 items. Both sides draw from the softmax over the codes that lead on in the trie;
what is drawn must be valid, and its mean log-probability the same within five standard errors,
before anything is timed. `transformers` is constrained as its users do it, by a dictionary, and by
our LogitsProcessor, which shows the price of the dictionary apart.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import numpy as np
import pytest
import torch
from engine_setup import Setup, dictionary, engine, model_in, prompts, trie

from onesearch_fast.integrations.transformers import TrieLogitsProcessor
from onesearch_fast.testing.random_models import QWEN3_29M, ModelSize

SMALL = Setup(
    "qwen3", ModelSize(128, 2, 2, 2, 64, 384, 4096), (128, 64, 32, 64, 64), 2000, 8_000, 150
)
LARGE = Setup("qwen3", QWEN3_29M, (1024, 512, 512, 256, 256), 7680, 100_000, 256)
ROLLOUTS = 32


@pytest.mark.parametrize(
    ("setup", "batch"),
    [
        pytest.param(SMALL, 1, id="small, 1 prompt"),
        pytest.param(SMALL, 16, id="small, 16 prompts"),
        pytest.param(LARGE, 1, id="large, 1 prompt"),
    ],
)
def test_rollouts(race: Callable[..., None], tiny: bool, setup: Setup, batch: int) -> None:
    setup = setup.tiny() if tiny else setup
    rivals = {
        "engine, float32": sampled(setup, batch),
        "transformers, prefix_allowed_tokens_fn": generated(setup, batch, by_dictionary=True),
        "transformers, our logits processor": generated(setup, batch, by_dictionary=False),
    }

    def assert_same_distribution(ours: torch.Tensor, theirs: torch.Tensor) -> None:
        assert trie(setup).contains(theirs.reshape(-1, theirs.shape[-1]).numpy()).all()
        ids, of = prompts(setup, batch), engine(setup, "float32")
        one, other = (of.score(ids, codes, "children") for codes in (ours, theirs))
        error = np.sqrt((one.var() + other.var()).item() / one.numel())
        assert abs((one.mean() - other.mean()).item()) < 5 * error + 1e-6

    race(rivals, assert_same_distribution, repeats=2)  # a `generate` takes seconds


def sampled(setup: Setup, batch: int) -> Callable[[], torch.Tensor]:
    """codes [batch, rollout, level]; every call draws anew."""
    chosen, ids, seeds = engine(setup, "float32"), prompts(setup, batch), count()
    return lambda: chosen.sample(ids, ROLLOUTS, seed=next(seeds)).codes


def generated(setup: Setup, batch: int, by_dictionary: bool) -> Callable[[], torch.Tensor]:
    ids, levels = prompts(setup, batch), len(setup.level_sizes)

    def run() -> torch.Tensor:
        constraint = (
            {"prefix_allowed_tokens_fn": dictionary(setup)}
            if by_dictionary
            else {
                "logits_processor": [
                    TrieLogitsProcessor(trie(setup), setup.offsets, setup.first_code)
                ]
            }
        )
        out = model_in(setup, torch.float32).generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            do_sample=True,
            num_return_sequences=ROLLOUTS,
            min_new_tokens=levels,
            max_new_tokens=levels,
            top_k=0,
            top_p=1.0,
            eos_token_id=None,
            **constraint,
        )
        tokens = out[:, ids.shape[1] :] - torch.tensor(setup.offsets)
        return tokens.view(batch, ROLLOUTS, levels).int()

    return run
