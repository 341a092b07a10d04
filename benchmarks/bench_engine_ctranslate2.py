"""A whole search against CTranslate2's beam search, which has no constraint.

A random GPT-2-type model of 29M parameters, prompts of 256 tokens, 5 tokens generated. CTranslate2
runs in every type that it has for this processor; in float32 its unconstrained beams must be ours.
Ours is timed unconstrained as well, and constrained to a million items. CTranslate2 keeps keys and
values per beam and takes the best 2 * num_beams candidates of the whole vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
from engine_setup import (
    Found,
    Setup,
    assert_near,
    assert_same_beams,
    generated,
    model,
    prompts,
    searched,
)

from onesearch_fast.testing.random_models import GPT2_29M

ctranslate2 = pytest.importorskip("ctranslate2")

GPT2 = Setup("gpt2", GPT2_29M, (1024, 512, 512, 256, 256), 7680, 1_000_000, 256)
END = 0


def token(index: int) -> str:
    return f"t{index}"


def never_generated(module: torch.nn.Module, index: int) -> None:
    """Gives a token a logit of -100 whatever the state.

    CTranslate2 needs an end token, and takes it out of the normaliser; so it must have no weight.
    """
    transformer = module.transformer
    with torch.no_grad():
        transformer.ln_f.weight[0], transformer.ln_f.bias[0] = 0.0, 1.0
        transformer.wte.weight[:, 0] = 0.0
        transformer.wte.weight[index] = 0.0
        transformer.wte.weight[index, 0] = -100.0


def save(setup: Setup, folder: Path) -> None:
    """The model as a Hugging Face folder, with a tokenizer of one word per id."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast

    words = {token(index): index for index in range(setup.vocab_size)}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel(words, unk_token=token(END))),
        **{name: token(END) for name in ("bos_token", "eos_token", "unk_token")},
    )
    never_generated(model(setup), END)
    model(setup).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@cache
def converted(setup: Setup, folder: Path) -> Path:
    save(setup, folder / "transformers")
    converter = ctranslate2.converters.TransformersConverter(str(folder / "transformers"))
    converter.convert(str(folder / "ctranslate2"))
    return folder / "ctranslate2"


def by_ctranslate2(setup: Setup, folder: Path, dtype: str, num_beams: int) -> Callable[[], Found]:
    generator = ctranslate2.Generator(
        str(converted(setup, folder)), compute_type=dtype, intra_threads=torch.get_num_threads()
    )
    start = [[token(index) for index in ids] for ids in prompts(setup).tolist()]
    levels = len(setup.level_sizes)

    def run() -> Found:
        (out,) = generator.generate_batch(
            start,
            beam_size=num_beams,
            num_hypotheses=num_beams,
            length_penalty=0,
            min_length=levels,
            max_length=levels,
            include_prompt_in_result=False,
            return_scores=True,
        )
        return as_codes(setup, torch.tensor(out.sequences_ids)), torch.tensor(out.scores)

    return run


def as_codes(setup: Setup, tokens: torch.Tensor) -> torch.Tensor:
    """As our unconstrained search tells them: a token that is no code of its level counts as -1."""
    offsets = torch.tensor(setup.offsets)
    local = tokens - offsets
    outside = (local < 0) | (local >= torch.tensor(setup.level_sizes))
    return local.masked_fill(outside, -1) + offsets


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("converted")


@pytest.mark.parametrize("num_beams", [64, 256])
def test_search_against_ctranslate2(
    race: Callable[..., None], tiny: bool, folder: Path, num_beams: int
) -> None:
    setup = GPT2.tiny() if tiny else GPT2
    types = sorted(ctranslate2.get_supported_compute_types("cpu"))
    theirs = {dtype: by_ctranslate2(setup, folder, dtype, num_beams) for dtype in types}
    assert_same_beams(
        searched(setup, "float32", num_beams, constrained=False)(), theirs["float32"]()
    )
    rivals = {
        f"engine, {dtype}, unconstrained": searched(setup, dtype, num_beams, constrained=False)
        for dtype in ("bfloat16", "float32")
    }
    rivals |= {f"ctranslate2, {name}": run for name, run in theirs.items()}
    race(rivals, assert_near, repeats=3, turn_seconds=0.5)


@pytest.mark.parametrize("num_beams", [64, 256])
def test_constrained_search_of_the_same_model(
    race: Callable[..., None], tiny: bool, folder: Path, num_beams: int
) -> None:
    """To be set beside the times of CTranslate2 above, which cannot be constrained."""
    setup = GPT2.tiny() if tiny else GPT2
    converted(setup, folder)  # the end token must be unlikely here as well
    ours = searched(setup, "float32", num_beams)
    assert_same_beams(ours(), generated(setup, torch.float32, num_beams)())
    rivals = {
        "engine, bfloat16": searched(setup, "bfloat16", num_beams),
        "engine, float32": ours,
    }
    race(rivals, assert_near, repeats=3, turn_seconds=0.5)
