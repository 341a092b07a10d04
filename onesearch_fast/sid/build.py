"""From the texts of a catalogue to its semantic IDs: encoder, codebooks, codes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from onesearch_fast.errors import invalid
from onesearch_fast.sid.codebooks import Codebooks
from onesearch_fast.sid.codes import LevelSizes, suggest_level_sizes
from onesearch_fast.sid.config import TFIDF, SidConfig
from onesearch_fast.sid.keyword_encoder import KeywordEncoder
from onesearch_fast.sid.keywords import KeywordDictionary
from onesearch_fast.sid.nearest import count_distinct
from onesearch_fast.sid.quality import SidQuality, quality
from onesearch_fast.sid.text_encoder import (
    SETTINGS_FILE,
    TextEncoder,
    load_text_encoder,
    read_settings,
)


@dataclass(frozen=True, eq=False)
class SemanticIds:
    """The semantic IDs of a catalogue and what makes those of new texts.

    embeddings float32 [num_items, dim], codes int32 [num_items, num_levels], in the items' order.
    """

    encoder: TextEncoder
    codebooks: Codebooks
    embeddings: npt.NDArray[np.float32]
    codes: npt.NDArray[np.int32]

    def quality(self) -> SidQuality:
        return quality(self.codes, self.codebooks.level_sizes, self.embeddings)

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.int32]:
        """texts [n], of items or of queries -> int32 [n, num_levels]."""
        return self.codebooks.encode(self.encoder.encode(texts))


def build_semantic_ids(
    item_texts: Sequence[str],
    config: SidConfig | None = None,
    on_stage: Callable[[str], None] | None = None,
    keywords: KeywordDictionary | None = None,
) -> SemanticIds:
    """Fits the encoder and the codebooks on the catalogue's texts and encodes every item.

    With `keywords` the vector of a text, of items and of queries alike, is drawn to those of the
    keywords in it (`KeywordEncoder`). Equal texts and config give equal bits. `on_stage` hears what
    is being done. Raises ValueError for an empty catalogue and when a level has more codes than it
    sees distinct vectors.
    """
    config = config or SidConfig()
    say = on_stage or (lambda _: None)
    if not item_texts:
        raise invalid("build_semantic_ids", "item_texts", "at least one item", "none")
    say(f"text encoder: {config.encoder}")
    encoder = open_encoder(item_texts, config)
    if keywords is not None:
        say(f"vectors of {len(keywords):,} keywords")
        encoder = KeywordEncoder(encoder, keywords)
    say(f"encoding {len(item_texts):,} items")
    embeddings = encoder.encode(item_texts)
    sizes = choose_level_sizes(count_distinct(embeddings), config)
    codebooks = Codebooks.fit(
        embeddings,
        sizes.residual,
        sizes.opq,
        config.normalize_residuals,
        config.seed,
        config.iterations,
        config.balance_slack,
        on_level=say,
        balance_by_first_code=config.balance_by_first_code,
        opq_directions=config.opq_directions,
        prq=config.prq,
    )
    say("codes of all items")
    return SemanticIds(encoder, codebooks, embeddings, codebooks.encode(embeddings))


def open_encoder(item_texts: Sequence[str], config: SidConfig) -> TextEncoder:
    """The encoder that `config` names: fitted on `item_texts`, or read from its folder."""
    if config.encoder == TFIDF:
        from onesearch_fast.sid.tfidf_encoder import TfidfEncoder

        return TfidfEncoder.fit(item_texts, config.text_dim, config.seed)
    folder = Path(config.encoder)
    if not folder.is_dir():
        raise invalid(
            "build_semantic_ids", "encoder", f"{TFIDF!r} or an existing folder", config.encoder
        )
    if (folder / SETTINGS_FILE).is_file():
        return load_text_encoder(folder)
    from onesearch_fast.sid.transformers_encoder import TransformersEncoder

    return TransformersEncoder(folder)


def check_training_log(where: str, config: SidConfig, log_hash: str) -> None:
    """Raises ValueError when the encoder, or one inside it, was aligned to another log.

    What another log, or another order of it, has in its training part may be held out in this one.
    log_hash: `TrainLog.content_hash`.
    """
    folders = [] if config.encoder == TFIDF else Path(config.encoder).rglob(SETTINGS_FILE)
    for path in folders:
        if read_settings(path.parent).get("training_log") not in (None, log_hash):
            raise invalid(
                where,
                "encoder",
                "one that was aligned to this very log",
                f"{path.parent}, aligned to another log, or another order of it",
                "give the data and --order that it was aligned with, or run align-embeddings anew",
            )


def choose_level_sizes(num_distinct: int, config: SidConfig) -> LevelSizes:
    """The sizes that `config` gives; what it leaves open follows the number of distinct vectors."""
    suggested = suggest_level_sizes(num_distinct)
    residual = suggested.residual if config.level_sizes is None else config.level_sizes
    opq = suggested.opq if config.opq is None else config.opq
    return LevelSizes(tuple(residual), tuple(opq))
