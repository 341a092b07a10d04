"""`onesearch-fast build-sids`: semantic IDs for the items of a data folder."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from onesearch_fast.cli._limits import check_output_folder
from onesearch_fast.cli._result import add_json, print_json
from onesearch_fast.cli.main import Verb
from onesearch_fast.data.keyword_mining import MINED, open_keywords
from onesearch_fast.data.records import item_text
from onesearch_fast.data.split import SEARCH, Split, TrainLog, leave_last_out
from onesearch_fast.sid.config import TFIDF, SidConfig
from onesearch_fast.sid.report import (
    SidReport,
    describe_buckets,
    draw_askers,
    neighbour_recall,
    query_recall,
)

if TYPE_CHECKING:
    from onesearch_fast.sid.build import SemanticIds

_RECALL_AT = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data", metavar="DATA", help="data folder, in any form that is read")
    parser.add_argument("--out", required=True, type=Path, help="folder to write")
    parser.add_argument("--order", help="order of the log, where the data has several")
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
    parser.add_argument(
        "--report",
        type=Path,
        metavar="FOLDER",
        help="measure what prefixes find as well, and write report.json, report.txt, levels.png",
    )
    parser.add_argument(
        "--balance-by-first-code",
        action="store_true",
        help="balance among the items of each first code: for many items a first code",
    )
    parser.add_argument(
        "--opq-directions",
        type=int,
        metavar="D",
        help="let OPQ code only the D directions in which items of one SID prefix differ most: "
        "more items get an SID of their own (default: all directions)",
    )
    parser.add_argument(
        "--prq", action="store_true", help="projected residual quantisation in the first two levels"
    )
    parser.add_argument("--seed", type=int, default=SidConfig.seed)
    add_json(parser)


def _sizes(text: str) -> tuple[int, ...]:
    if text == "none":
        return ()
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected sizes like 256,256, got {text!r}") from None


def run(arguments: argparse.Namespace) -> int:
    from onesearch_fast.cli._sid_folder import refuse_other_folders, write_sid_folder
    from onesearch_fast.data.readers import read_dataset

    refuse_other_folders("build-sids", arguments.out)
    check_output_folder("build-sids", "--report", arguments.report)
    split = leave_last_out(read_dataset(arguments.data, order=arguments.order))
    sids = _build(split.log, arguments)
    report = _report(split, sids, arguments.report is not None)
    out, items = arguments.out, split.log.items
    write_sid_folder(out, items, sids.codes, sids.encoder, sids.codebooks, report.quality)
    if arguments.report is not None:
        from onesearch_fast.sid.report_output import write_report

        write_report(report, arguments.report)
    if arguments.json:
        print_json({"out": str(arguments.out), **report.as_dict()})
    else:
        print(report.as_text())
        print(f"written to {arguments.out}")
    return 0


def _build(log: TrainLog, arguments: argparse.Namespace) -> SemanticIds:
    from rich.console import Console

    from onesearch_fast.sid.build import build_semantic_ids, check_training_log

    config = SidConfig(
        encoder=arguments.encoder,
        text_dim=arguments.text_dim,
        level_sizes=arguments.level_sizes,
        opq=arguments.opq,
        seed=arguments.seed,
        balance_slack=arguments.balance_slack,
        balance_by_first_code=arguments.balance_by_first_code,
        opq_directions=arguments.opq_directions,
        prq=arguments.prq,
    )
    check_training_log("build-sids", config, log.content_hash())
    keywords = open_keywords(arguments.keywords, log)
    texts = [item_text(item) for item in log.items]
    with Console(stderr=True).status("reading") as status:
        return build_semantic_ids(texts, config, status.update, keywords)


def _report(split: Split, sids: SemanticIds, whole: bool) -> SidReport:
    """`whole` measures what prefixes find, too; the queries asked are the held-out ones."""
    book = sids.codebooks
    titles = [item.title for item in split.log.items]
    buckets = describe_buckets(sids.codes, book.level_sizes, book.num_residual_levels, titles)
    report = SidReport(sids.quality(), buckets)
    if not whole:
        return report
    k = min(_RECALL_AT, len(sids.codes) - 1)
    if k > 0:
        report = replace(report, neighbours=neighbour_recall(sids.codes, sids.embeddings, k))
    cases = split.cases[SEARCH]
    if cases:
        asked = [cases[place] for place in draw_askers(len(cases), seed=0)]
        vectors = sids.encoder.encode([case.query or "" for case in asked])
        wanted = np.array([case.target_row for case in asked])
        found = query_recall(
            sids.codes, sids.embeddings, book.encode(vectors), vectors, wanted, _RECALL_AT
        )
        report = replace(report, queries=found)
    return report


VERB = Verb("build-sids", "make semantic IDs for a catalogue", add_arguments, run)
