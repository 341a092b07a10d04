"""`onesearch-fast encode-items`: the semantic IDs of new items, and how well they are served."""

from __future__ import annotations

import argparse
from pathlib import Path

from onesearch_fast.cli._limits import check_output_file
from onesearch_fast.cli._result import add_json, print_json
from onesearch_fast.cli.main import Verb
from onesearch_fast.errors import invalid

_WHERE = "encode-items"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data", metavar="DATA", help="data folder with the items")
    parser.add_argument("--sids", required=True, type=Path, help="folder that build-sids wrote")
    parser.add_argument("--out", required=True, type=Path, help="parquet file to write")
    parser.add_argument(
        "--device",
        help="cpu or cuda (default: a GPU where torch sees one); the codes are the same",
    )
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    from onesearch_fast.cli._sid_folder import read_sid_folder, write_sids
    from onesearch_fast.data.readers import read_dataset
    from onesearch_fast.data.records import item_text
    from onesearch_fast.sid.drift import measure_drift

    check_output_file(_WHERE, "--out", str(arguments.out))
    encoder, codebooks = read_sid_folder(_WHERE, arguments.sids)
    items = read_dataset(arguments.data).items
    if not items:
        raise invalid(_WHERE, "DATA", "at least one item", "none")
    vectors = encoder.encode([item_text(item) for item in items])
    drift = measure_drift(codebooks, vectors, arguments.device)
    write_sids(arguments.out, items, codebooks.encode(vectors, arguments.device))
    if arguments.json:
        print_json({"out": str(arguments.out), "drift": drift.as_dict()})
    else:
        print(drift.as_text())
        print(f"{len(items):,} items written to {arguments.out}")
    return 0


VERB = Verb(_WHERE, "give new items semantic IDs; report drift", add_arguments, run)
