"""`onesearch-fast build-sids`: semantic IDs for the items of a data folder."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from onesearch_fast.cli.main import Verb
from onesearch_fast.data.keyword_mining import mine_keywords
from onesearch_fast.data.records import Item, item_text
from onesearch_fast.data.split import TrainLog, leave_last_out
from onesearch_fast.errors import invalid
from onesearch_fast.files import atomic_folder, write_json
from onesearch_fast.sid.build import TFIDF, SemanticIds, SidConfig, build_semantic_ids
from onesearch_fast.sid.codes import code_token_names
from onesearch_fast.sid.keywords import KeywordDictionary
from onesearch_fast.sid.quality import SidQuality, largest_buckets

_ENCODER_FOLDER = "text_encoder"
_CODEBOOKS_FILE = "codebooks.safetensors"
_SIDS_FILE = "sids.parquet"
_QUALITY_FILE = "quality.json"
MINED = "mined"
_BUCKETS_SHOWN = 5
_TITLES_SHOWN = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data", metavar="DATA", help="data folder, in any form that is read")
    parser.add_argument("--out", required=True, type=Path, help="folder to write")
    parser.add_argument(
        "--level-sizes", type=_sizes, help="codes per k-means level; default: by catalogue size"
    )
    parser.add_argument(
        "--opq", type=_sizes, help="codes per OPQ level, or none; default: by catalogue size"
    )
    parser.add_argument(
        "--encoder", default=TFIDF, help="tfidf, or the folder of a text encoder (default: tfidf)"
    )
    parser.add_argument("--text-dim", type=int, default=SidConfig.text_dim, help="width of tfidf")
    parser.add_argument(
        "--keywords",
        metavar="FILE",
        help="draw vectors to the keywords of a file (one JSON object a line), or to those that "
        f"`{MINED}` finds in the items' fields and the training part of the log",
    )
    parser.add_argument(
        "--balance-slack",
        type=float,
        metavar="S",
        help="balance the last k-means level: no code holds more than 1 + S times its share",
    )
    parser.add_argument("--seed", type=int, default=SidConfig.seed)
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def _sizes(text: str) -> tuple[int, ...]:
    if text == "none":
        return ()
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected sizes like 256,256, got {text!r}") from None


def run(arguments: argparse.Namespace) -> int:
    from onesearch_fast.data.readers import read_dataset

    _refuse_other_folders(arguments.out)
    log = leave_last_out(read_dataset(arguments.data)).log
    items = log.items
    sids = _build(log, arguments)
    measured = sids.quality()
    _write(arguments.out, items, sids, measured)
    buckets = _describe_buckets(items, sids)
    if arguments.json:
        document = {"out": str(arguments.out), "quality": measured.as_dict(), "largest": buckets}
        print(json.dumps(document, ensure_ascii=False))
    else:
        _print_report(arguments.out, measured, buckets)
    return 0


def _refuse_other_folders(out: Path) -> None:
    """The folder is replaced as a whole, so it must be new, empty, or our own."""
    own = (out / _CODEBOOKS_FILE).is_file() and (out / _SIDS_FILE).is_file()
    if out.exists() and not own and (not out.is_dir() or any(out.iterdir())):
        raise invalid(
            "build-sids", "--out", "a new folder, or an earlier one of this verb", str(out)
        )


def _build(log: TrainLog, arguments: argparse.Namespace) -> SemanticIds:
    from rich.console import Console

    config = SidConfig(
        encoder=arguments.encoder,
        text_dim=arguments.text_dim,
        level_sizes=arguments.level_sizes,
        opq=arguments.opq,
        seed=arguments.seed,
        balance_slack=arguments.balance_slack,
    )
    keywords = _keywords(log, arguments.keywords)
    texts = [item_text(item) for item in log.items]
    with Console(stderr=True).status("reading") as status:
        return build_semantic_ids(texts, config, status.update, keywords)


def _keywords(log: TrainLog, source: str | None) -> KeywordDictionary | None:
    if source is None:
        return None
    if source == MINED:
        return mine_keywords(log)
    return KeywordDictionary.load(source)


def _write(out: Path, items: Sequence[Item], sids: SemanticIds, measured: SidQuality) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    codes = pa.array(sids.codes.tolist(), pa.list_(pa.int32(), sids.codebooks.num_levels))
    table = pa.table({"item_id": pa.array([item.item_id for item in items]), "codes": codes})
    with atomic_folder(out) as folder:
        sids.encoder.save(folder / _ENCODER_FOLDER)
        sids.codebooks.save(folder / _CODEBOOKS_FILE)
        pq.write_table(table, folder / _SIDS_FILE)
        write_json(folder / _QUALITY_FILE, measured.as_dict())


def _describe_buckets(items: Sequence[Item], sids: SemanticIds) -> list[dict[str, Any]]:
    book = sids.codebooks
    names = code_token_names(book.level_sizes, book.num_residual_levels)
    return [
        {
            "sid": "".join(names[level][code] for level, code in enumerate(codes)),
            "num_items": len(rows),
            "titles": [items[row].title for row in rows[:_TITLES_SHOWN]],
        }
        for codes, rows in largest_buckets(sids.codes, _BUCKETS_SHOWN)
    ]


def _print_report(out: Path, measured: SidQuality, buckets: Sequence[dict[str, Any]]) -> None:
    print(measured.as_text())
    print("fullest SIDs")
    for bucket in buckets:
        print(f"  {bucket['num_items']:5} items on {bucket['sid']}")
        for title in bucket["titles"]:
            print(f"        {title[:90]}")
    print(f"written to {out}")


VERB = Verb("build-sids", "Make semantic IDs for a catalogue.", add_arguments, run)
