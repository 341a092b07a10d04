"""A tiny served model, made once: 90 invented items, a random model, every part real."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from onesearch_fast.data.prompts import PromptConfig, PromptEncoder, Templates
from onesearch_fast.data.records import Item
from onesearch_fast.data.tokenizer import SidTokenizer
from onesearch_fast.engine.served_model import ServedModel
from onesearch_fast.index.item_table import ItemTable
from onesearch_fast.index.sid_trie import SidTrie
from onesearch_fast.sid.codebooks import Codebooks
from onesearch_fast.sid.tfidf_encoder import TfidfEncoder
from onesearch_fast.testing.random_models import random_model

COLOURS = ("red", "blue", "green", "white", "black", "金色")
KINDS = ("kettle", "lamp", "scarf", "mug", "plough")
MAKERS = ("Arden", "Bexley", "Corvo")


DOCS = Path(__file__).parents[2] / "docs"
_SNIPPET = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)


@pytest.fixture
def guide_snippets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """The Python snippets of a page of docs/ as one program, to be run in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return lambda page: "\n".join(_SNIPPET.findall((DOCS / page).read_text(encoding="utf-8")))


@pytest.fixture(scope="session")
def catalogue() -> tuple[Item, ...]:
    """Items item-0 to item-89; every seventh is out of stock."""
    names = itertools.product(COLOURS, KINDS, MAKERS)
    return tuple(
        Item(
            item_id=f"item-{row}",
            title=f"{maker} {colour} {kind} number {row}",
            brand=maker,
            category=("home", kind),
            price=float(row),
            in_stock=row % 7 != 0,
        )
        for row, (colour, kind, maker) in enumerate(names)
    )


@pytest.fixture(scope="session")
def served_parts(catalogue: tuple[Item, ...]) -> dict[str, object]:
    """The arguments of `ServedModel.write`."""
    titles = [item.title for item in catalogue]
    encoder = TfidfEncoder.fit(titles, dim=16, seed=0)
    vectors = encoder.encode(titles)
    codebooks = Codebooks.fit(vectors, level_sizes=(8, 6), opq=(4, 4), iterations=5)
    templates = Templates.load("compact")
    tokenizer = SidTokenizer.train(titles, 400, codebooks.level_sizes, 2, templates.markers)
    model = random_model("qwen3", tokenizer.vocab_size + 5, max_positions=160)
    return {
        "model": model,
        "trie": SidTrie.build(codebooks.encode(vectors), codebooks.level_sizes),
        "items": ItemTable.build(catalogue),
        "codebooks": codebooks,
        "text_encoder": encoder,
        "prompts": PromptEncoder(tokenizer, templates, PromptConfig(max_history_events=50)),
    }


@pytest.fixture(scope="session")
def served_folder(
    served_parts: dict[str, object], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The folder itself; copy it before altering it."""
    folder = tmp_path_factory.mktemp("served") / "model"
    ServedModel.write(folder, **served_parts)  # type: ignore[arg-type]
    return folder
